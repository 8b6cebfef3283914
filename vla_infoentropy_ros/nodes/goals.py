# SPDX-License-Identifier: Apache-2.0
"""The action ~/execute_instruction; what becomes of a goal is decided in driving."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from vla_infoentropy_ros.action import ExecuteInstruction
from vla_infoentropy_ros.driving.driver import Step
from vla_infoentropy_ros.driving.goal import Ending, Goal, Goals, Reason


class GoalServer:
    """Hands goals on, and tells whoever sent them how they go and how they end."""

    def __init__(self, node: Any, goals: Goals) -> None:
        self._goals = goals
        self._server = ActionServer(
            node,
            ExecuteInstruction,
            "~/execute_instruction",
            self._execute,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),  # a goal waits while others are answered
        )

    async def _execute(self, handle: Any) -> Any:
        wanted, ended = handle.request, Future()
        goal = Goal(
            wanted.instruction,
            float(wanted.time_limit),
            int(wanted.step_limit),
            canceled=lambda: bool(handle.is_cancel_requested),
            progressed=lambda steps, step: handle.publish_feedback(_feedback(steps, step)),
            ended=ended.set_result,
        )
        self._goals.begin(goal)
        ending: Ending = await ended
        if ending.reason.complete:
            handle.succeed()
        elif ending.reason is Reason.CANCELED:
            handle.canceled()
        else:
            handle.abort()
        return ExecuteInstruction.Result(
            reason=ending.reason.value,
            detail=ending.detail,
            steps=ending.steps,
            duration=ending.duration_s,
        )


def _feedback(steps: int, step: Step) -> Any:
    return ExecuteInstruction.Feedback(
        steps=steps,
        latency_ms=float(step.result.latency_ms),
        image_to_command_ms=float(step.image_to_command_ms),
        reuse_ratio=float(step.result.report.reuse_ratio),
    )
