# SPDX-License-Identifier: Apache-2.0
"""One instruction, carried out within limits: how a goal begins, is counted and ends."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vla_infoentropy_ros.driving.driver import Driver, Step
from vla_infoentropy_ros.foreign.budgets import BudgetError, within


class Reason(enum.Enum):
    """Why a goal ended, in the words of our action ExecuteInstruction."""

    TIME_LIMIT = "time_limit"
    STEP_LIMIT = "step_limit"
    CANCELED = "canceled"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    RESET = "reset"
    DISABLED = "disabled"
    FAULT = "fault"
    STOPPED = "stopped"

    @property
    def complete(self) -> bool:
        """The goal ended by its own limits."""
        return self in (Reason.TIME_LIMIT, Reason.STEP_LIMIT)


@dataclass(frozen=True)
class Ending:
    """detail: one sentence more, where the reason needs one. duration_s: since it was accepted."""

    reason: Reason
    detail: str
    steps: int
    duration_s: float


@dataclass(frozen=True)
class Goal:
    """What is wanted. time_limit_s, step_limit: 0 for none. canceled: whoever wanted it does so no
    longer. progressed: told of each step, and which it was, by the worker. ended: told once how it
    ended, by whichever thread ends it."""

    instruction: str
    time_limit_s: float
    step_limit: int
    canceled: Callable[[], bool]
    progressed: Callable[[int, Step], None]
    ended: Callable[[Ending], None]

    @property
    def problem(self) -> str:
        """Why it cannot be carried out whatever the robot does; else ""."""
        if not self.instruction.strip():
            return "instruction is empty: say what to do"
        if not (math.isfinite(self.time_limit_s) and self.time_limit_s >= 0.0):
            return f"time_limit={self.time_limit_s}: give seconds, 0 for no limit"
        try:
            within("instruction_characters", len(self.instruction), "the goal's instruction")
        except BudgetError as error:
            return str(error)
        return ""


@dataclass
class _Pursuit:
    """may_move: whether the interlocks let the robot move when the goal began."""

    goal: Goal
    may_move: bool
    began_s: float
    steps: int = 0

    @property
    def exhausted(self) -> bool:
        """All steps that were asked for are taken."""
        return 0 < self.goal.step_limit <= self.steps


class Goals:
    """Carries out one goal at a time; a new one ends the one before.

    `tick` (at command rate) and `stepped` (in the worker) may be called by two threads. Limits and
    cancellation stop the robot here; whatever else stops it, `tick` notices.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._pursuit: _Pursuit | None = None

    def begin(self, goal: Goal) -> None:
        """Pursue it, unless it cannot be, or is not wanted any more; `Goal.ended` is told in each
        case."""
        driver = self._driver
        pursuit = _Pursuit(goal, driver.commander.interlock.may_move, driver.clock.steady_s())
        if goal.canceled():  # while it waited for its turn: nothing else ends for it
            self._tell(pursuit, Reason.CANCELED)
            return
        self.end(Reason.SUPERSEDED)
        problem = goal.problem or self._obstacle()
        if problem:
            self._tell(pursuit, Reason.REJECTED, problem)
            return
        driver.follow(goal.instruction.strip())
        with self._lock:
            self._pursuit = pursuit

    def stepped(self, step: Step) -> None:
        """A step gave an action."""
        with self._lock:
            pursuit = self._pursuit
            if pursuit is None or pursuit.exhausted:
                return
            pursuit.steps += 1
        pursuit.goal.progressed(pursuit.steps, step)
        if pursuit.exhausted:
            self._driver.finish()  # and no stop: the last command is still to be carried out

    def tick(self) -> None:
        """Look whether the goal has ended."""
        pursuit = self._pursuit
        if pursuit is None:
            return
        limit_s = pursuit.goal.time_limit_s
        if pursuit.goal.canceled():
            self.end(Reason.CANCELED, only=pursuit)
        elif hindrance := self._hindrance(pursuit):
            self.end(*hindrance, only=pursuit)
        elif pursuit.exhausted and not self._driver.commander.moving:
            self.end(Reason.STEP_LIMIT, only=pursuit)
        elif 0.0 < limit_s <= self._driver.clock.steady_s() - pursuit.began_s:
            self.end(Reason.TIME_LIMIT, only=pursuit)

    def end(self, reason: Reason, detail: str = "", only: _Pursuit | None = None) -> None:
        """End the goal, if there is one, and stop the robot. only: this one, not one that has
        begun since it was looked at."""
        with self._lock:
            pursuit = self._pursuit
            if pursuit is None or (only is not None and pursuit is not only):
                return
            self._pursuit = None
            self._driver.rest()  # within the lock: what begins next must not be put to rest
        self._tell(pursuit, reason, detail)

    def _tell(self, pursuit: _Pursuit, reason: Reason, detail: str = "") -> None:
        duration_s = self._driver.clock.steady_s() - pursuit.began_s
        pursuit.goal.ended(Ending(reason, detail, pursuit.steps, duration_s))

    def _obstacle(self) -> str:
        """Why no goal can begin now."""
        interlock = self._driver.commander.interlock
        if not self._driver.active:
            return "the node is not active: activate it"
        if interlock.fault is None and interlock.dry_run:
            return ""
        return interlock.why_not()

    def _hindrance(self, pursuit: _Pursuit) -> tuple[Reason, str] | None:
        """What stopped the robot since the goal began."""
        interlock, runner = self._driver.commander.interlock, self._driver.runner
        if interlock.fault is not None:
            return Reason.FAULT, f"{interlock.fault.code}: {interlock.fault.reason}"
        if pursuit.may_move and not interlock.may_move:
            return Reason.DISABLED, interlock.why_not()
        if runner is not None and runner.rejected:
            return Reason.REJECTED, runner.rejected
        return None
