# SPDX-License-Identifier: Apache-2.0
"""The stand-in's gripper behind an action, as drivers and the controllers of ros2_control serve it.
"""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.action import ActionServer

from vla_infoentropy_ros.arms.models import Gripper
from vla_infoentropy_ros.nodes.policy_link import PolicyLink


def serve_gripper(node: Any, kind: str, gripper: Gripper, link: PolicyLink) -> None:
    """Serve the action ``kind`` of control_msgs under the gripper's name; goals are reached at
    once."""
    action = getattr(importlib.import_module("control_msgs.action"), kind)
    parallel = kind == "ParallelGripperCommand"

    def execute(goal: Any) -> Any:
        command = goal.request.command
        position = command.position[0] if parallel else command.position
        link.opening = gripper.opening(position)
        goal.succeed()
        result = action.Result(reached_goal=True)
        if parallel:
            result.state.name, result.state.position = command.name, [position]
        else:
            result.position = position
        return result

    ActionServer(node, action, gripper.action, execute)
