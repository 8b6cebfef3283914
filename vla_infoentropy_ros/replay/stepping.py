# SPDX-License-Identifier: Apache-2.0
"""A recording through the core that drives the node, once for each variant, at recorded time.

Nothing is judged here: which image, stamp, frame and instruction is used, `driving` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.watchdog import CLOCK_JUMP_S
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.driver import Driver, Step
from vla_infoentropy_ros.driving.images import ImageError, PackedPicture, Picture, RawPicture
from vla_infoentropy_ros.driving.intake import VIEWS, Frame
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState, StateError
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.sink import NoRobot
from vla_infoentropy_ros.driving.transforms import TransformError, transforms_in
from vla_infoentropy_ros.driving.worker import Inline
from vla_infoentropy_ros.replay.errors import BagError, counted
from vla_infoentropy_ros.replay.recording import (
    COMPRESSED,
    EE_POSE,
    EPISODE_END,
    INSTRUCTION,
    JOINT_STATES,
    RAW,
    TF,
    TF_STATIC,
    Event,
)
from vla_infoentropy_ros.replay.ros_time import RosTime
from vla_infoentropy_ros.replay.threads import Ahead
from vla_infoentropy_ros.replay.types import stamp_ns
from vla_infoentropy_ros.variants import Variant

_STATES = (JOINT_STATES, EE_POSE, TF, TF_STATIC)
_NOT_DUE = "no action was due, by command.execute_actions or max_rate_hz"


class SharedPicture:
    """A picture that is decoded once, however many variants look at it."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._rgb: NDArray[np.uint8] | ImageError | None = None

    @property
    def data(self) -> Any:
        return self._picture.data

    def check(self) -> None:
        self._picture.check()

    def rgb(self) -> NDArray[np.uint8]:
        if self._rgb is None:
            try:
                self._rgb = self._picture.rgb()
            except ImageError as error:
                self._rgb = error
        if isinstance(self._rgb, ImageError):
            raise self._rgb
        return self._rgb


class _Shown(NamedTuple):
    """An event, with its picture where it is an image. skipped: by --every."""

    event: Event
    picture: SharedPicture | None = None
    skipped: bool = False


@dataclass
class Account:
    """What became of the images of the first camera. By reason: rejected, dropped, failed (the
    policy gave no action). unused: those that came while no instruction was in force.
    skipped: by --every. received is the sum of all."""

    received: int = 0
    used: int = 0
    skipped: int = 0
    unused: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value
                for name, value in vars(self).items()}


class _Ear:
    """What one variant's driver tells while it handles one event."""

    def __init__(self) -> None:
        self.step: Step | None = None
        self.account = Account()

    def stepped(self, step: Step) -> None:
        self.step = step
        self.account.used += 1

    def rejected(self, what: str, reason: str) -> None:
        self.account.rejected[reason if what == "image" else f"{what}: {reason}"] += 1

    def dropped(self, reason: str) -> None:
        self.account.dropped[reason] += 1

    def failed(self, frame: Frame, fault: Fault) -> None:
        self.account.failed[fault.reason] += 1

    def faulted(self, fault: Fault) -> None: ...
    def clock_jumped(self) -> None: ...
    def changed(self) -> None: ...


@dataclass(frozen=True)
class Moment:
    """One frame that the policy acted on, by variant. time_ns: of recording; stamp_ns: of the
    image. A variant whose policy failed on it is missing."""

    time_ns: int
    stamp_ns: int
    frame_id: str
    instruction: str
    steps: Mapping[str, Step]


class Replay:
    """Steps ``policy`` under each variant through events; see `moments`.

    settings: those of the node; each variant brings its selector and way to decode. instruction:
    in force instead of the recorded ones, "" for those. every: use one image of so many.
    """

    def __init__(
        self,
        policy: Any,
        variants: Mapping[str, Variant],
        settings: PolicyNodeSettings,
        instruction: str = "",
        every: int = 1,
    ) -> None:
        if every < 1:
            raise BagError(f"--every {every}: must be 1 or more")
        self._clock, self._ros_time = SetClock(), RosTime()
        self._told, self._every = instruction.strip(), every
        self.images = self._skipped = 0
        self._frame_ids: Counter[str] = Counter()
        self._unheard: Counter[str] = Counter()  # messages on the robot's state, by reason
        self._ears = {name: _Ear() for name in variants}
        self._drivers = {
            name: self._driver(policy, variant, settings, self._ears[name])
            for name, variant in variants.items()
        }

    def _driver(
        self, policy: Any, variant: Variant, settings: PolicyNodeSettings, ear: _Ear
    ) -> Driver:
        own = replace(
            settings,
            node=replace(settings.node, selector=variant.selector, instruction=self._told,
                         self_test=""),
            session=replace(settings.session, decode=variant.decode),
            command=replace(settings.command, dry_run=True, slow_policy="stretch"),
        )
        driver = Driver(own, self._clock, NoRobot(), ear, Inline, lambda _: policy)
        driver.load()
        driver.activate()
        return driver

    def moments(self, events: Iterator[Event]) -> Generator[Moment]:
        """One moment per image that is acted on, as it is reached; what follows is read and
        decoded meanwhile."""
        with Ahead(self._shown(self._ros_time.of(events))) as ahead:
            for shown in ahead:
                event = shown.event
                self._set_clock(event.ros_ns or event.time_ns)
                if event.kind == INSTRUCTION:
                    self._instruct(str(event.content))
                elif event.kind in _STATES:
                    self._hear_state(event)
                elif event.kind == EPISODE_END:
                    for driver in self._drivers.values():
                        driver.reset()
                else:
                    found = self._look(shown)
                    if found is not None:
                        yield found

    def _set_clock(self, now_ns: int) -> None:
        """Where it steps back, what is heard before the next image is of the new time already."""
        jumped = now_ns < self._clock.now_ns() - CLOCK_JUMP_S * 1e9
        self._clock.set_ns(now_ns)
        for driver in self._drivers.values() if jumped else ():
            driver.robot.clock_jumped()

    def _shown(self, events: Iterator[Event]) -> Iterator[_Shown]:
        """On the reading thread."""
        images = 0
        for event in events:
            if event.kind not in (RAW, COMPRESSED):
                yield _Shown(event)
                continue
            skipped = not event.view and images % self._every > 0
            images += not event.view
            message = event.content
            picture = SharedPicture(
                RawPicture.of(message) if event.kind == RAW else PackedPicture.of(message)
            )
            if not skipped:
                with suppress(ImageError):  # which is told when the picture is asked for
                    picture.rgb()
            yield _Shown(event, picture, skipped)

    @property
    def account(self) -> Account:
        """Of the images, as the first variant saw them; failures of every variant."""
        (first, ear), *others = self._ears.items()
        own, dropped = ear.account, Counter(ear.account.dropped)
        counted_too = self._drivers[first].intake.counters.frames_dropped
        if passed_over := counted_too - dropped.total():
            dropped[_NOT_DUE] = passed_over
        rejected = sum(n for r, n in own.rejected.items() if not r.startswith(VIEWS[1:]))
        told = own.used + rejected + dropped.total() + own.failed.total()
        failed = own.failed + Counter({
            f"{name}: {reason}": count
            for name, ear in others for reason, count in ear.account.failed.items()
        })
        return replace(
            own, received=self.images, skipped=self._skipped, dropped=dropped, failed=failed,
            unused=self.images - self._skipped - told,
        )

    def close(self) -> None:
        for driver in self._drivers.values():
            driver.deactivate()
            driver.unload()

    def notes(self, camera: str) -> list[str]:
        """What a person should know about what was not used, or not as one may think. camera: name
        of the first."""
        account, told = self.account, self._ros_time.notes(camera)
        for what, reasons in (("rejected", account.rejected), ("dropped", account.dropped)):
            told += [f"{counted(n, 'image')} {what}: {reason}" for reason, n in reasons.items()]
        told += [f"{counted(n, 'step')} without an action: {r}" for r, n in account.failed.items()]
        told += [f"{counted(n, 'message')} dropped: {why}" for why, n in self._unheard.items()]
        if account.unused:
            told.append(
                f"{counted(account.unused, 'image')} came while no instruction was in force "
                "and were not used, as in the node; --instruction gives one from the start"
            )
        if len(self._frame_ids) > 1:
            names = ", ".join(f"{name or 'no frame_id'} {n}" for name, n in self._frame_ids.items())
            told.append(f"several cameras share {camera} ({names} images): each change between "
                        "them recomputes everything; give each a topic of its own")
        return told

    def refused_instruction(self) -> str:
        """Why the policy cannot follow what it was last told, or ""."""
        driver = next(iter(self._drivers.values()))
        return driver.runner.rejected if driver.runner is not None else ""

    def _instruct(self, text: str) -> None:
        if not self._told:
            for driver in self._drivers.values():
                driver.instruction(text)

    def _hear_state(self, event: Event) -> None:
        refused: set[str] = set()  # the same for each driver
        for tell in _tellings(event, self._clock.steady_s()):
            for driver in self._drivers.values():
                try:
                    tell(driver.robot)
                except (StateError, TransformError) as error:
                    refused.add(str(error))
        self._unheard.update(refused)

    def _look(self, shown: _Shown) -> Moment | None:
        event, picture, skipped = shown
        assert picture is not None
        header = event.content.header
        taken_ns, frame_id = stamp_ns(header.stamp), str(header.frame_id)
        if event.view:
            for driver in self._drivers.values():
                driver.further_image(VIEWS[event.view], picture, taken_ns, frame_id)
            return None
        self.images += 1
        if skipped:
            self._skipped += 1
            return None
        self._frame_ids[frame_id] += 1
        steps: dict[str, Step] = {}
        for name, driver in self._drivers.items():
            ear = self._ears[name]
            ear.step = None
            driver.image(picture, taken_ns, frame_id)
            if ear.step is not None:
                steps[name] = ear.step
        if not steps:
            return None
        instruction = next(iter(steps.values())).instruction
        return Moment(event.time_ns, taken_ns, frame_id, instruction, steps)


def _tellings(event: Event, arrival_s: float) -> Iterator[Callable[[RobotState], object]]:
    """What a message says of the arm, part by part: one that is refused leaves the others, as in
    the node. Each raises as `RobotState` does."""
    message = event.content
    if event.kind == JOINT_STATES:
        yield methodcaller("hear_joints", message.name, message.position,
                           stamp_ns(message.header.stamp))
    elif event.kind == EE_POSE:
        at, turn = message.pose.position, message.pose.orientation
        pose = Pose(np.array([at.x, at.y, at.z]), (turn.w, turn.x, turn.y, turn.z))
        yield methodcaller("hear_pose", pose, str(message.header.frame_id),
                           stamp_ns(message.header.stamp))
    else:
        for child, transform in transforms_in(message, event.kind == TF_STATIC, arrival_s):
            yield methodcaller("hear_transform", child, transform)
