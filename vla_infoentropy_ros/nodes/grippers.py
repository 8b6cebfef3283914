# SPDX-License-Identifier: Apache-2.0
"""How the gripper is told how far to open: a topic, or the action that ros2_control serves."""

from __future__ import annotations

import importlib
import threading
from typing import Any, Protocol

from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from vla_infoentropy_ros.control.faults import GRIPPER, Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.qos import NEWEST

_SAME = 1e-3  # openings closer than this are one


class Gripper(Protocol):
    """Takes openings, 0 closed .. 1 open. A stop never opens it: letting go is no safe state."""

    def send(self, opening: float, settings: CommandSettings) -> None: ...

    def forget(self) -> None:
        """The robot stopped: fingers under way stay where they are, and whatever comes next is
        new."""
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
    name = settings.gripper_action_type
    try:
        return getattr(importlib.import_module("control_msgs.action"), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"command.gripper_action={settings.gripper_action!r} needs {name} of the ROS package "
            "control_msgs: install or update it, or leave the parameter empty for the topic "
            "gripper_command"
        ) from error


def _set(command: Any, opening: float, settings: CommandSettings) -> None:
    """Fill a goal's command: of a GripperCommand, or a JointState with one joint."""
    shut, wide = settings.gripper_closed_position, settings.gripper_open_position
    position, effort = shut + opening * (wide - shut), settings.gripper_max_effort
    if not isinstance(command, JointState):
        command.position, command.max_effort = position, effort
        return
    command.position = [position]
    if settings.gripper_joint:
        command.name = [settings.gripper_joint]
    if effort:  # empty: as its controller decides
        command.effort = [effort]


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
    """An action of control_msgs, see `_action_type`; a goal whenever the opening changes."""

    def __init__(self, node: Any, settings: CommandSettings) -> None:
        self._type, self._name = _action_type(settings), settings.gripper_action
        self._client = ActionClient(node, self._type, self._name)
        self._lock = threading.Lock()  # stops come from any thread, answers from the executor
        self._opening: float | None = None
        self._rejected = ""
        self._newest = 0  # goal that was sent
        self._stopped = 0  # the goals up to this one
        self._under_way: Any = None  # handle of a goal, from acceptance to result

    def send(self, opening: float, settings: CommandSettings) -> None:
        if self._opening is not None and abs(opening - self._opening) < _SAME:
            return
        self._opening = opening
        goal = self._type.Goal()
        _set(goal.command, opening, settings)
        self._newest += 1
        number = self._newest
        answer = self._client.send_goal_async(goal)
        answer.add_done_callback(lambda answer: self._answered(answer.result(), number))

    def _answered(self, handle: Any, number: int) -> None:
        if handle.accepted:
            with self._lock:
                stopped = self._stopped >= number
                self._under_way = None if stopped else handle
            if stopped:
                handle.cancel_goal_async()
            else:
                # One that stalls on what it holds may be reported as aborted: it is over as well.
                handle.get_result_async().add_done_callback(lambda _: self._over(handle))
        elif number > self._stopped:
            self._rejected = (
                f"{self._name} rejected a goal; check command.gripper_open_position and "
                "command.gripper_closed_position, and that its controller is active"
            )

    def _over(self, handle: Any) -> None:
        with self._lock:
            if self._under_way is handle:
                self._under_way = None

    def forget(self) -> None:
        self._opening, self._rejected = None, ""
        with self._lock:
            self._stopped = self._newest
            handle, self._under_way = self._under_way, None
        if handle is not None:
            handle.cancel_goal_async()

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
