# SPDX-License-Identifier: Apache-2.0
"""How the gripper is told how far to open: a topic, or the action that ros2_control serves."""

from __future__ import annotations

from typing import Any, Protocol

from rclpy.action import ActionClient
from std_msgs.msg import Float64

from vla_infoentropy_ros.control.faults import GRIPPER, Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.qos import NEWEST

_SAME = 1e-3  # openings closer than this are one


class Gripper(Protocol):
    """Takes openings, 0 closed .. 1 open. A stop tells it nothing: letting go is no safe state."""

    def send(self, opening: float, settings: CommandSettings) -> None: ...

    def forget(self) -> None:
        """The robot stopped: whatever comes next is new."""
        ...

    def fault(self) -> Fault | None:
        """Why the gripper cannot be commanded."""
        ...

    def listeners(self) -> int: ...

    def close(self) -> None: ...


def make_gripper(node: Any, settings: CommandSettings) -> Gripper:
    """What ``command.gripper_action`` names. Raises SettingError, see `check_gripper`."""
    check_gripper(settings)
    return ActionGripper(node, settings) if settings.gripper_action else TopicGripper(node)


def check_gripper(settings: CommandSettings) -> None:
    """Raises SettingError where the action is wanted and its package is not installed."""
    if settings.gripper_action:
        _action_type(settings)


def _action_type(settings: CommandSettings) -> Any:
    try:
        from control_msgs.action import GripperCommand
    except ImportError as error:
        raise SettingError(
            f"command.gripper_action={settings.gripper_action!r} needs the ROS package "
            "control_msgs: install it, or leave the parameter empty for the topic gripper_command"
        ) from error
    return GripperCommand


class TopicGripper:
    """gripper_command: std_msgs/Float64, once per action of the policy."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publisher = node.create_publisher(Float64, "gripper_command", NEWEST)

    def send(self, opening: float, settings: CommandSettings) -> None:
        self._publisher.publish(Float64(data=opening))

    def forget(self) -> None:
        pass

    def fault(self) -> Fault | None:
        return None

    def listeners(self) -> int:
        return int(self._publisher.get_subscription_count())

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)


class ActionGripper:
    """control_msgs/action/GripperCommand; a goal whenever the opening changes."""

    def __init__(self, node: Any, settings: CommandSettings) -> None:
        self._type, self._name = _action_type(settings), settings.gripper_action
        self._client = ActionClient(node, self._type, self._name)
        self._opening: float | None = None
        self._rejected = ""

    def send(self, opening: float, settings: CommandSettings) -> None:
        if self._opening is not None and abs(opening - self._opening) < _SAME:
            return
        self._opening = opening
        shut, wide = settings.gripper_closed_position, settings.gripper_open_position
        goal = self._type.Goal()
        goal.command.position = shut + opening * (wide - shut)
        goal.command.max_effort = settings.gripper_max_effort
        # A grip that stalls on what it holds may be reported as aborted: only the answer matters.
        self._client.send_goal_async(goal).add_done_callback(self._answered)

    def _answered(self, answer: Any) -> None:
        if not answer.result().accepted:
            self._rejected = (
                f"{self._name} rejected a goal; check command.gripper_open_position and "
                "command.gripper_closed_position, and that its controller is active"
            )

    def forget(self) -> None:
        self._opening, self._rejected = None, ""

    def fault(self) -> Fault | None:
        if self._rejected:
            return Fault(GRIPPER, self._rejected)
        if not self._client.server_is_ready():
            return Fault(
                GRIPPER,
                f"no action server {self._name} (command.gripper_action); start the gripper's "
                "controller, or correct the name",
            )
        return None

    def listeners(self) -> int:
        return int(self._client.server_is_ready())

    def close(self) -> None:
        self._client.destroy()
