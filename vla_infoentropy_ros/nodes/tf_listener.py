# SPDX-License-Identifier: Apache-2.0
"""Hears TF for driving: the newest transform of each frame, without tf2's buffer of the past."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.driver import Driver
from vla_infoentropy_ros.driving.transforms import TransformError, transforms_in
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.bounded import subscribe

_MOVING = QoSProfile(depth=100)
_STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def check_pose_source(settings: CommandSettings) -> None:
    """Raises SettingError where TF is wanted and its message is not installed."""
    if settings.pose_source == "tf":
        _message_type()


def _message_type() -> Any:
    try:
        return importlib.import_module("tf2_msgs.msg").TFMessage
    except (ImportError, AttributeError) as error:
        raise SettingError(
            "command.pose_source='tf' needs the ROS package tf2_msgs: install it, or set the "
            "parameter to ee_pose and publish that"
        ) from error


class TfListener:
    """/tf and /tf_static, as TF names them on every robot."""

    def __init__(self, node: Any, driver: Driver) -> None:
        self._node, self._driver = node, driver
        kind = _message_type()
        self._subscriptions = [
            subscribe(node, kind, "/tf", self._on_moving, _MOVING),
            subscribe(node, kind, "/tf_static", self._on_static, _STATIC),
        ]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_moving(self, message: Any) -> None:
        self._hear(message, static=False)

    def _on_static(self, message: Any) -> None:
        self._hear(message, static=True)

    def _hear(self, message: Any, static: bool) -> None:
        arrival_s = self._driver.clock.steady_s()
        for child, transform in transforms_in(message, static, arrival_s):
            try:
                self._driver.robot.hear_transform(child, transform)
            except TransformError as error:
                self._node.get_logger().error(str(error), throttle_duration_sec=2.0)
