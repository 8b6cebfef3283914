# SPDX-License-Identifier: Apache-2.0
"""The stand-in's gripper behind an action, as the controllers of ros2_control serve it."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionServer

from vla_infoentropy_ros.nodes.policy_link import PolicyLink

NAME = "gripper_controller/gripper_cmd"
OPEN_M = 0.04
"""What its fingers take as open; closed is 0."""


def serve_gripper(node: Any, kind: str, link: PolicyLink) -> None:
    """Serve the action ``kind`` of `arm_settings.GRIPPERS`; a goal is reached at once."""
    if kind == "topic":
        return
    from control_msgs.action import GripperCommand, ParallelGripperCommand

    parallel = kind == "parallel_gripper_command"

    def execute(goal: Any) -> Any:
        command = goal.request.command
        position = command.position[0] if parallel else command.position
        link.opening = min(1.0, max(0.0, position / OPEN_M))
        goal.succeed()
        if not parallel:
            return GripperCommand.Result(position=position, reached_goal=True)
        result = ParallelGripperCommand.Result(reached_goal=True)
        result.state.name, result.state.position = command.name, [position]
        return result

    ActionServer(node, ParallelGripperCommand if parallel else GripperCommand, NAME, execute)
