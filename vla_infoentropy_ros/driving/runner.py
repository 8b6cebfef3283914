# SPDX-License-Identifier: Apache-2.0
"""The policy that drives: loads it, owns its session, steps it in the worker."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from vla_infoentropy_ros.driving.images import ImageError
from vla_infoentropy_ros.driving.intake import Frame
from vla_infoentropy_ros.driving.pace import StepTimes
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.worker import MakeWorker, Work, Worker
from vla_infoentropy_ros.foreign.text import MESSAGE, UserError, printable, quoted_lines
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.memory import release_device_memory
from vla_infoentropy_ros.plugins import seen
from vla_infoentropy_ros.selftest import neutral_state, run_selftest
from vla_infoentropy_ros.session import Session, StepResult, check_fit

_STOP_TIMEOUT_S = 10.0


class StepListener(Protocol):
    """Told by the worker what happens."""

    def step_begins(self, frame: Frame) -> None: ...
    def decoded(self, frame: Frame) -> None: ...
    def step_done(self, frame: Frame, result: StepResult, instruction: str) -> None: ...
    def frame_rejected(self, frame: Frame, reason: str) -> None: ...
    def step_failed(self, frame: Frame, error: Exception) -> None: ...
    def change_failed(self, error: Exception) -> None: ...
    def state_changed(self) -> None: ...


class PolicyRunner:
    """One loaded policy. Its methods may be called from any thread, except where noted."""

    def __init__(
        self,
        settings: PolicyNodeSettings,
        listener: StepListener,
        make_worker: MakeWorker[Frame] = Worker,
        load_policy: Callable[[PolicyNodeSettings], Any] | None = None,
    ) -> None:
        """Loads the policy and tests it; raises what the loader raises."""
        self._listener, self._make_worker = listener, make_worker
        self.policy = (load_policy or load)(settings)
        settings.state.check(self.policy.proprioception)
        self.times = self_test(self.policy, settings)
        self._session: Session | None = Session(
            self.policy, settings.build_selector(), settings.session
        )
        rate_hz = settings.node.max_rate_hz
        # Not quite a period, so that the jitter of a camera does not cost a whole frame.
        self._period_s = 0.95 / rate_hz if rate_hz else 0.0
        self._earliest_s = 0.0
        self._worker: Work[Frame] | None = None
        gc.collect()
        gc.freeze()  # a collection that walks all of torch would hold up a control step
        self.instruction = ""
        self.rejected = ""
        self._told = ""  # the newest instruction
        self._traced = ""  # what the log has said last of code that failed
        self._not_in_force: dict[str, Exception] = {}  # what was asked for, and why it is not

    @property
    def alive(self) -> bool:
        return self._worker is not None and self._worker.alive

    @property
    def running(self) -> bool:
        return self._worker is not None

    def start(self) -> None:
        """Begin to accept frames."""
        self._worker = self._make_worker(self._step)
        self._worker.start()

    def stop(self) -> bool:
        """Stop accepting frames and forget the cache; false if a step did not come to its end."""
        worker, self._worker = self._worker, None
        if worker is None:
            return True
        ended = worker.stop(_STOP_TIMEOUT_S)
        if ended and self._session is not None:
            self._session.reset("deactivated")
        return ended

    def close(self) -> None:
        """Stop and free the policy's memory."""
        self.stop()
        self.policy = self._session = None
        gc.unfreeze()
        gc.collect()
        release_device_memory()

    def post(self, frame: Frame) -> bool:
        """Offer a frame; true if it, or an older one, was dropped."""
        if self._worker is None:
            return False
        if frame.arrival_s < self._earliest_s:
            return True
        self._earliest_s = frame.arrival_s + self._period_s
        return self._worker.post(frame)

    def set_instruction(self, text: str) -> None:
        """Follow another instruction from the next step on, or reject it with a reason."""
        self.instruction = self.rejected = ""
        self._told = text
        self._request(lambda session: self._instruct(session, text))

    def rest(self, rejected: str = "") -> None:
        """Take no more steps until there is another instruction, or the same one again. rejected:
        why the newest is not followed."""
        self.instruction = self._told = ""
        self.rejected = told = printable(rejected, MESSAGE)
        self._request(lambda session: self._rest(session, told))

    def reset(self, reason: str) -> None:
        """Begin a new episode with the next frame."""
        self._request(lambda session: session.reset(reason))

    def check(self, settings: PolicyNodeSettings) -> None:
        """Raise SettingError for a selector or options that the policy cannot be run by."""
        check_fit(self.policy, settings.build_selector(), settings.session)

    def set_selector(self, settings: PolicyNodeSettings) -> None:
        """Choose tokens by other settings from the next step on."""
        selector = settings.build_selector()
        self._request(lambda session: session.set_selector(selector), "the selector")

    def set_options(self, settings: PolicyNodeSettings) -> None:
        """Run by other session options from the next step on."""
        self._request(lambda session: session.set_options(settings.session), "the options")

    def _request(self, act: Callable[[Session], None], what: str = "a request") -> None:
        """what: is changed by it. Where that fails no step is taken until it has been changed: the
        old one is not what was asked for."""
        session, worker = self._session, self._worker
        if session is None:
            return

        def run() -> None:
            try:
                act(session)
                self._not_in_force.pop(what, None)
            except Exception as error:  # a policy or a selector may raise anything
                self._trace(f"{what} could not be changed", error)
                self._not_in_force[what] = error
                self._listener.change_failed(error)
            self._listener.state_changed()

        if worker is None:
            run()
        else:
            worker.call(run)

    def _instruct(self, session: Session, text: str) -> None:
        if text != self._told:
            return  # while it waited another has come
        try:
            session.set_instruction(text)
        except Exception as error:  # a policy may raise anything; the robot stands already
            self._trace("instruction rejected", error)
            self.rejected = (printable(error, MESSAGE) if isinstance(error, ValueError)
                             else f"the policy raised {seen(error)}")
            session.reset("instruction_changed")  # it keeps the old text while the robot stands
            return
        self.instruction = session.instruction

    def _rest(self, session: Session, rejected: str) -> None:
        session.reset("new_episode")
        if not self._told:  # else another instruction has come, and waits for its turn
            # Once more: one that waited for the step in progress has set it since.
            self.instruction, self.rejected = "", rejected

    def _step(self, frame: Frame) -> None:
        session = self._session
        if session is None or not self.instruction:
            return
        self._listener.step_begins(frame)
        if self._not_in_force:
            self._listener.step_failed(frame, next(iter(self._not_in_force.values())))
            return
        try:
            images = frame.decode()
            self._listener.decoded(frame)
            result = session.step(images, frame.stamp_ns, frame.frame_id, frame.state)
            if self._session is session:  # else it was closed over this step, and another drives
                self._listener.step_done(frame, result, session.instruction)
        except ImageError as error:
            self._listener.frame_rejected(frame, str(error))
        except Exception as error:  # a policy may raise anything; the robot must stop for it
            self._trace("step failed", error)
            if self._session is session:
                self._listener.step_failed(frame, error)

    def _trace(self, what: str, error: Exception) -> None:
        """Log where an exception that is being handled comes from: of code that failed, not of
        what was refused, and not again while the next ones are like it."""
        refused = isinstance(error, UserError) and error.__cause__ is None
        told = f"{what}: {type(error).__name__}: {error}"
        if refused or told == self._traced:
            return
        self._traced = told
        trace = quoted_lines(traceback.format_exc())
        logging.getLogger(__name__).error("%s:\n%s", what, trace)


def load(settings: PolicyNodeSettings) -> Any:
    """The policy that the settings name."""
    return load_policy(settings.node.model, settings.load)


def self_test(policy: Any, settings: PolicyNodeSettings) -> StepTimes:
    """All questions of `selftest`, then steps on noise, to see how long they take.

    Raises SettingError where the policy is blind or could not move a robot: better now than
    later.
    """
    instruction = settings.node.self_test
    if not instruction:
        return StepTimes()
    report = run_selftest(policy, instruction)
    if not report.passed:
        raise SettingError(f"self_test={instruction!r} failed: {report.reason}")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(policy.views)]
    session = Session(policy, settings.build_selector(), settings.session)
    session.set_instruction(instruction)
    state = neutral_state(policy)

    def step_ms() -> float:
        return float(session.step(images, state=state).latency_ms)

    step_ms()  # the first of all warms up
    reusing = min(step_ms() for _ in range(2))
    session.reset("new_episode")
    return StepTimes(dense=step_ms(), reusing=reusing)
