# SPDX-License-Identifier: Apache-2.0
"""The action ~/execute_instruction: one instruction, carried out within limits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from vla_infoentropy_ros.action import ExecuteInstruction
from vla_infoentropy_ros.driving.driver import Driver, Step

Result = ExecuteInstruction.Result
_COMPLETE = (Result.TIME_LIMIT, Result.STEP_LIMIT)


@dataclass
class _Goal:
    """may_move: whether the interlocks let the robot move when the goal began."""

    handle: Any
    may_move: bool
    ended: Future = field(default_factory=Future)
    began_s: float = field(default_factory=time.monotonic)
    steps: int = 0

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def exhausted(self) -> bool:
        """All steps that were asked for are taken."""
        limit = int(self.handle.request.step_limit)
        return 0 < limit <= self.steps


class Goals:
    """Serves one goal at a time; a new one ends the one before.

    `tick` (at command rate) runs in the executor, `stepped` in the
    worker. Limits and cancellation stop the robot here; whatever else stops it, `tick` notices.
    """

    def __init__(self, node: Any, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._goal: _Goal | None = None
        self._server = ActionServer(
            node,
            ExecuteInstruction,
            "~/execute_instruction",
            self._execute,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),  # a goal waits while others are answered
        )

    def stepped(self, step: Step) -> None:
        """A step gave an action."""
        with self._lock:
            goal = self._goal
            if goal is None or goal.exhausted:
                return
            goal.steps += 1
        feedback = ExecuteInstruction.Feedback(
            steps=goal.steps,
            latency_ms=float(step.result.latency_ms),
            image_to_command_ms=float(step.image_to_command_ms),
            reuse_ratio=float(step.result.report.reuse_ratio),
        )
        goal.handle.publish_feedback(feedback)
        if goal.exhausted:
            self._driver.finish()  # and no stop: the last command is still to be carried out

    def tick(self) -> None:
        """Look whether the goal has ended."""
        goal = self._goal
        if goal is None:
            return
        limit_s = goal.handle.request.time_limit
        if goal.handle.is_cancel_requested:
            self.end(Result.CANCELED)
        elif hindrance := self._hindrance(goal):
            self.end(*hindrance)
        elif goal.exhausted and not self._driver.commander.moving:
            self.end(Result.STEP_LIMIT)
        elif 0.0 < limit_s <= goal.age_s:
            self.end(Result.TIME_LIMIT)

    def end(self, reason: str, detail: str = "") -> None:
        """End the goal, if there is one, and stop the robot; reason: a constant of the result."""
        with self._lock:
            goal, self._goal = self._goal, None
        if goal is not None:
            self._driver.rest()
            goal.ended.set_result((reason, detail))

    async def _execute(self, handle: Any) -> Any:
        self.end(Result.SUPERSEDED)
        goal = _Goal(handle, self._driver.commander.interlock.may_move)
        problem = _invalid(handle.request) or self._obstacle()
        if problem:
            reason, detail = Result.REJECTED, problem
        else:
            self._driver.follow(handle.request.instruction.strip())
            self._goal = goal
            reason, detail = await goal.ended
        finish: dict[str, Callable[[], None]] = dict.fromkeys(_COMPLETE, handle.succeed)
        finish[Result.CANCELED] = handle.canceled
        finish.get(reason, handle.abort)()
        return Result(reason=reason, detail=detail, steps=goal.steps, duration=goal.age_s)

    def _obstacle(self) -> str:
        """Why no goal can begin now."""
        interlock = self._driver.commander.interlock
        if not self._driver.active:
            return "the node is not active: activate it"
        if interlock.fault is None and interlock.dry_run:
            return ""
        return str(interlock.why_not())

    def _hindrance(self, goal: _Goal) -> tuple[str, str] | None:
        """What stopped the robot since the goal began."""
        interlock, runner = self._driver.commander.interlock, self._driver.runner
        if interlock.fault is not None:
            return Result.FAULT, f"{interlock.fault.code}: {interlock.fault.reason}"
        if goal.may_move and not interlock.may_move:
            return Result.DISABLED, interlock.why_not()
        if runner is not None and runner.rejected:
            return Result.REJECTED, runner.rejected
        return None


def _invalid(request: Any) -> str:
    if not request.instruction.strip():
        return "instruction is empty: say what to do"
    if not (math.isfinite(request.time_limit) and request.time_limit >= 0.0):
        return f"time_limit={request.time_limit}: give seconds, 0 for no limit"
    return ""
