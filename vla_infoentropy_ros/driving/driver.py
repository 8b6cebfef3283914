# SPDX-License-Identifier: Apache-2.0
"""Drives a policy: what comes from a skin goes in here, what is decided and commanded comes out.

It owns the episode: which instruction is in force, when a new one begins, and what is still of an
older one. A skin calls its methods, from any thread, and is told by its `Audience`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.driving.aims import AIMS
from vla_infoentropy_ros.driving.clock import Clock
from vla_infoentropy_ros.driving.commander import Commander, Issued
from vla_infoentropy_ros.driving.images import Picture, repeats
from vla_infoentropy_ros.driving.intake import VIEWS, Frame, Intake
from vla_infoentropy_ros.driving.pace import check_pace
from vla_infoentropy_ros.driving.robot_state import RobotState
from vla_infoentropy_ros.driving.runner import PolicyRunner, load
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.sink import CommandSink
from vla_infoentropy_ros.driving.sources import OneSource, Sources
from vla_infoentropy_ros.driving.worker import MakeWorker, Worker
from vla_infoentropy_ros.session import StepError, StepResult

WAITS_FOR_IMAGE = "waits for an image"


@dataclass(frozen=True)
class Step:
    """A policy step whose action was issued. stamp_ns: ROS time of the command.
    image_to_command_ms: from the image's arrival."""

    frame: Frame
    result: StepResult
    issued: Issued
    stamp_ns: int
    instruction: str
    image_to_command_ms: float


class State(enum.Enum):
    """Of the driver, as a person asks for it."""

    UNCONFIGURED = enum.auto()
    INACTIVE = enum.auto()
    WAITING = enum.auto()
    RUNNING = enum.auto()
    FAULT = enum.auto()


class Audience(Protocol):
    """A skin is told what happens, by the thread in which it does."""

    def stepped(self, step: Step) -> None:
        """An action was issued."""
        ...

    def rejected(self, what: str, reason: str) -> None:
        """what: topic of the camera; it is counted."""
        ...

    def dropped(self, reason: str) -> None:
        """An image's stamp tells nothing new."""
        ...

    def failed(self, frame: Frame, fault: Fault) -> None:
        """The policy gave no action for this frame."""
        ...

    def faulted(self, fault: Fault) -> None:
        """A fault latched, after the zero command."""
        ...

    def clock_jumped(self) -> None:
        """ROS time went backwards, and a new episode begins."""
        ...

    def changed(self) -> None:
        """Something else that `state` or the counters tell."""
        ...


class Driver:
    """From images and an instruction to commands, with one policy and one robot.

    settings: `configure` exchanges them. clock, sink, audience: the skin's. make_worker: `Worker`
    for a thread of its own, `Inline` for steps within the call of `image`. load_policy: gives the
    policy that settings name. sources: of the inputs; None: whoever calls is the only one.
    """

    def __init__(
        self,
        settings: PolicyNodeSettings,
        clock: Clock,
        sink: CommandSink,
        audience: Audience,
        make_worker: MakeWorker[Frame] = Worker,
        load_policy: Callable[[PolicyNodeSettings], Any] = load,
        sources: Sources | None = None,
    ) -> None:
        self.settings, self.clock, self.active = settings, clock, False
        self._audience, self._make_worker, self._load = audience, make_worker, load_policy
        self.robot = RobotState(clock, settings.command)
        self.intake = Intake(clock, audience)
        self.commander = Commander(
            clock, sink, settings.command, audience.faulted, sources or OneSource()
        )
        self.runner: PolicyRunner | None = None
        self.last: Step | None = None
        self.slow = ""  # what is to be known of a policy slower than its control period
        self._stepped_s = self._offered_s = 0.0
        self._wanted = settings.node.instruction
        self._seen_ns = 0  # when the newest image was taken of which a token was recomputed
        self._looked_at: dict[str, Picture] = {}  # by the step before

    # Beginning and end

    def load(self) -> PolicyRunner:
        """Load and test the policy; raises what its loader raises."""
        runner = PolicyRunner(self.settings, self, self._make_worker, self._load)
        try:
            self._take(runner)
        except BaseException:
            runner.close()  # else its memory would not be there for the next one
            raise
        self.runner = runner
        return runner

    def _take(self, runner: PolicyRunner) -> None:
        """Get ready for its policy. Raises SettingError where that cannot be carried out so."""
        period_s = runner.policy.convention.control_period_s
        self.settings.command.check_chunks(runner.policy.head.horizon, period_s)
        self.slow = check_pace(
            runner.times, period_s, self.settings.node.max_rate_hz, self.settings.command
        )
        self.intake.open(self.settings.node, runner.policy.views)
        aim = AIMS[self.settings.command.output](self.robot)
        self.commander.open(runner.policy.convention, aim)

    def activate(self) -> None:
        """Take frames from now on; not enabled, whatever was called before."""
        runner = self.runner
        if runner is None:
            raise RuntimeError("no policy is loaded")
        self.commander.begin()
        runner.start()
        self.intake.begin()
        self.active = True
        if self._wanted or runner.instruction:  # which may have been taken back meanwhile
            runner.set_instruction(self._wanted)

    def deactivate(self) -> bool:
        """Zero command, then no more; false if the step in progress did not end."""
        self.active = False
        self.commander.enable(False)
        self.commander.drain()
        self.last = None
        return self.runner.stop() if self.runner is not None else True

    def unload(self) -> None:
        """Free the policy's memory."""
        self.commander.close()
        runner, self.runner = self.runner, None
        if runner is not None:
            runner.close()

    def check(self, settings: PolicyNodeSettings) -> None:
        """Raise SettingError where the policy that is loaded cannot be run by other settings."""
        if self.runner is not None:
            self.runner.check(settings)

    def configure(self, settings: PolicyNodeSettings, changed: set[str]) -> None:
        """Valid new settings; changed: their parameters' names. A selector is exchanged between
        two steps."""
        before, self.settings = self.settings, settings
        if "instruction" in changed:  # while unconfigured alone
            self._wanted = settings.node.instruction
        wider = settings.wider_than(before)
        if wider or any(name.startswith("command.") for name in changed):
            self.commander.configure(settings.command, wider)
        runner = self.runner
        if runner is None:
            return
        if any(name.startswith(("select", "schedule")) for name in changed):
            self.commander.stop()
            runner.set_selector(settings)
        if any(name.startswith("session.") for name in changed):
            runner.set_options(settings)

    # What comes in

    def image(self, picture: Picture, stamp_ns: int, frame_id: str = "") -> None:
        """An image of the first camera."""
        self._look_at_clock()
        commander = self.commander
        arrival_s = self.clock.steady_s()
        frame = self.intake.image(
            picture, stamp_ns, frame_id, commander.settings, commander.generation
        )
        frame, lacks = self._with_state(frame)
        commander.saw(arrival_s, frame is not None, lacks)
        runner = self.runner
        if frame is not None and self.active and runner is not None and self._offer(runner, frame):
            self.intake.drop()

    def _offer(self, runner: PolicyRunner, frame: Frame) -> bool:
        """To the policy, if it is time for another chunk; true if this or another was dropped."""
        interval_s = frame.arrival_s - self._offered_s
        self._offered_s = frame.arrival_s
        return not self.commander.wants_chunk(interval_s) or runner.post(frame)

    def _with_state(self, frame: Frame | None) -> tuple[Frame | None, Fault | None]:
        """With the robot's state, where the policy takes it; none where that is not known, and
        why."""
        source = self.settings.state
        if frame is None or not source.source:
            return frame, None
        state = source.read(self.robot, self.commander.settings.pose_timeout_s)
        if isinstance(state, Fault):
            self.intake.reject("image", state.reason)
            return None, state
        return replace(frame, state=state), None

    def further_image(
        self, view: str, picture: Picture, stamp_ns: int, frame_id: str = ""
    ) -> None:
        """An image of a further camera, by its topic."""
        self._look_at_clock()
        self.intake.further_image(view, picture, stamp_ns, frame_id)

    def follows(self, text: str) -> bool:
        """Whether `instruction` has been told this already; capitals may make another prompt."""
        return text.strip() == self._wanted.strip()

    def instruction(self, text: str) -> None:
        """Follow a text; other words than before begin an episode."""
        if self.follows(text):
            return
        self._wanted = text.strip()
        if self.runner is not None and self.active:
            self.commander.stop()
            self.runner.set_instruction(self._wanted)

    def follow(self, text: str) -> None:
        """Begin an episode with this instruction, be it the same as before."""
        self._wanted = text
        if self.runner is not None:
            self.runner.set_instruction(text)
        self.reset()

    def rest(self, rejected: str = "") -> None:
        """Stop, and do nothing until there is an instruction again. rejected: why the newest, which
        cannot even be read, is not followed."""
        self.finish(rejected)  # first: an image after the stop would else be acted on once more
        self.commander.stop()

    def finish(self, rejected: str = "") -> None:
        """No more steps until there is an instruction again; what was decided is carried out."""
        self._wanted = ""
        if self.runner is not None:
            self.runner.rest(rejected)

    def reset(self, reason: str = "new_episode") -> None:
        """Zero command; a new episode begins with the next image."""
        self.commander.stop()
        self.last = None
        if self.runner is not None and self.active:
            self.runner.reset(reason)

    def enable(self, on: bool) -> tuple[bool, str]:
        """The operator's interlock: whether it is as asked, and a sentence."""
        if on and not self.active:
            return False, "refused: the node is not active; activate it, then enable"
        return self.commander.enable(on)

    def tick(self) -> None:
        """Repeat the command, or stop; to be called at command rate while active."""
        self._look_at_clock()
        runner = self.runner
        self.commander.tick(runner is not None and runner.alive)

    def _look_at_clock(self) -> None:
        if not self.intake.clock_jumped():
            return
        self.robot.clock_jumped()
        self.commander.clock_jumped()
        self.reset("clock_backwards")
        self._audience.clock_jumped()

    # What there is to tell

    @property
    def state(self) -> State:
        if self.commander.interlock.fault is not None:
            return State.FAULT
        if self.runner is None:
            return State.UNCONFIGURED
        if not self.active:
            return State.INACTIVE
        running = (self.last is not None and self.runner.instruction
                   and self._lately(self._stepped_s))
        return State.RUNNING if running else State.WAITING

    def _lately(self, ended_s: float) -> bool:
        """A step that ended then is not longer ago than it could be without a fault."""
        settings = self.commander.settings
        gap_s = settings.camera_timeout_s + settings.deadline_s
        return self.clock.steady_s() - ended_s <= gap_s

    def detail(self) -> str:
        """What is missing for the robot to move, and why the last image could not be used, one
        sentence; empty if nothing is."""
        return "; ".join(filter(None, (self.missing(), self.intake.unused)))

    def missing(self) -> str:
        """What is missing for the robot to move, one sentence; empty if nothing is."""
        state, runner = self.state, self.runner
        if state is State.UNCONFIGURED:
            return "no policy loaded: configure the node"
        if state is State.INACTIVE:
            return "not running: activate the node"
        if state is State.WAITING and runner is not None:
            if runner.rejected:
                return f"instruction rejected: {runner.rejected}"
            if not runner.instruction:
                return "waits for an instruction on the topic instruction"
            belated = self.commander.belated if self._lately(self.commander.belated_s) else ""
            return belated or WAITS_FOR_IMAGE
        return self.commander.interlock.why_not() or self.commander.unheard()

    @property
    def camera_overdue(self) -> bool:
        """There is no image as new as it must be while the robot is being commanded."""
        return not self.intake.image_age_s <= self.commander.settings.camera_timeout_s

    # Told by the runner, in its worker

    def step_begins(self, frame: Frame) -> None:
        self.commander.step_begins(frame.arrival_s)

    def decoded(self, frame: Frame) -> None:
        before, self._looked_at = self._looked_at, dict(zip(VIEWS, frame.pictures, strict=False))
        self.commander.looked({
            view: not repeats(picture, before.get(view))
            for view, picture in self._looked_at.items()
        })
        self.commander.decoded(frame.arrival_s, True)
        self.intake.decoded()

    def frame_rejected(self, frame: Frame, reason: str) -> None:
        self.commander.decoded(frame.arrival_s, False)
        self.intake.decoded(reason)

    def step_done(self, frame: Frame, result: StepResult, instruction: str) -> None:
        commander = self.commander
        stamp_ns = max(frame.stamp_ns, self.clock.now_ns())
        if result.report.fresh:
            self._seen_ns = frame.stamp_ns
        commander.prepare()
        issued = commander.issue(
            result.action.chunk, frame.generation, stamp_ns, (stamp_ns - frame.stamp_ns) / 1e9,
            oldest_s=(stamp_ns - frame.oldest_ns) / 1e9,
            renewed_s=(stamp_ns - self._seen_ns) / 1e9,
        )
        if issued is None:
            self._audience.changed()
            return
        self._stepped_s = self.clock.steady_s()
        waited_ms = (self._stepped_s - frame.arrival_s) * 1e3
        step = Step(frame, result, issued, stamp_ns, instruction, waited_ms)
        self.last = step
        self._audience.stepped(step)

    def change_failed(self, error: Exception) -> None:
        self.commander.stop(Fault(faults.POLICY_EXCEPTION, _told(error)))

    def step_failed(self, frame: Frame, error: Exception) -> None:
        code = faults.INVALID_ACTION if isinstance(error, StepError) else faults.POLICY_EXCEPTION
        fault = Fault(code, _told(error))
        self.commander.failed(fault)
        self._audience.failed(frame, fault)

    def state_changed(self) -> None:
        self._audience.changed()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
