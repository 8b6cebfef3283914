# SPDX-License-Identifier: Apache-2.0
"""What the node listens to, handed on to driving; nothing is judged or decoded here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from vla_infoentropy_ros.driving.driver import Driver
from vla_infoentropy_ros.driving.images import PackedPicture, RawPicture
from vla_infoentropy_ros.driving.robot_state import Pose, StateError
from vla_infoentropy_ros.driving.settings import NodeSettings
from vla_infoentropy_ros.nodes.bounded import subscribe
from vla_infoentropy_ros.nodes.messages import to_ns
from vla_infoentropy_ros.nodes.qos import CAMERA, LATCHED, NEWEST


class Inputs:
    """Subscriptions of the node. ``on_instruction`` is told what the topic says."""

    def __init__(self, node: Any, driver: Driver, on_instruction: Callable[[str], None]) -> None:
        self._node, self._driver = node, driver
        self._cameras: list[Any] = []
        self._raw = True
        self._on_instruction = on_instruction
        self.problem = self.instruction_problem = ""
        subscribe(
            node,
            String,
            "instruction",
            self._instruction,
            LATCHED,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._instruction_incompatible()
            ),
        )
        subscribe(node, PoseStamped, "ee_pose", self._pose, NEWEST)
        subscribe(node, JointState, "joint_states", self._joints, NEWEST)
        subscribe(node, String, "robot_description", self._description, LATCHED,
                  budget="description_characters")

    def open(self, settings: NodeSettings, views: int) -> None:
        """Subscribe to the cameras."""
        self._raw = settings.image_transport == "raw"
        kind, suffix = (Image, "") if self._raw else (CompressedImage, "/compressed")
        qos = NEWEST if settings.image_reliability == "reliable" else CAMERA
        self.problem = ""
        callbacks = {f"image{suffix}": self._image, f"wrist_image{suffix}": self._wrist_image}
        for topic, callback in list(callbacks.items())[:views]:
            events = SubscriptionEventCallbacks(
                incompatible_qos=functools.partial(self._incompatible, topic)
            )
            self._cameras.append(
                self._node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
            )

    @property
    def cameras(self) -> int:
        """Raw cameras that are listened to."""
        return len(self._cameras) * self._raw

    def close(self) -> None:
        """Unsubscribe from the cameras."""
        for subscription in self._cameras:
            self._node.destroy_subscription(subscription)
        self._cameras = []

    def _instruction(self, message: String) -> None:
        self.instruction_problem = ""
        self._on_instruction(message.data)

    def _instruction_incompatible(self) -> None:
        self.instruction_problem = (
            "a publisher of instruction is volatile or best effort: nothing arrives from it; let "
            "it be reliable and transient local (ros2 topic pub: --qos-durability transient_local)"
        )
        self._node.get_logger().error(self.instruction_problem)

    def _incompatible(self, topic: str, event: object) -> None:
        self.problem = (
            f"a publisher of {topic} is best effort, but image_reliability is reliable: no image "
            "arrives from it; set image_reliability to best_effort"
        )
        self._node.get_logger().error(self.problem)

    def _image(self, message: Any) -> None:
        self._driver.image(self._picture(message), *_origin(message))

    def _wrist_image(self, message: Any) -> None:
        self._driver.wrist_image(self._picture(message), *_origin(message))

    def _picture(self, message: Any) -> RawPicture | PackedPicture:
        return RawPicture.of(message) if self._raw else PackedPicture.of(message)

    def _pose(self, message: PoseStamped) -> None:
        at, turn = message.pose.position, message.pose.orientation
        pose = Pose(np.array([at.x, at.y, at.z]), (turn.w, turn.x, turn.y, turn.z))
        self._driver.robot.hear_pose(pose, message.header.frame_id, to_ns(message.header.stamp))

    def _joints(self, message: JointState) -> None:
        self._hear(
            lambda: self._driver.robot.hear_joints(
                message.name, message.position, to_ns(message.header.stamp)
            )
        )

    def _description(self, message: String) -> None:
        self._hear(lambda: self._driver.robot.hear_description(message.data))

    def _hear(self, store: Callable[[], None]) -> None:
        try:
            store()
        except StateError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=2.0)


def _origin(message: Any) -> tuple[int, str]:
    """Stamp in ns, and the camera's frame."""
    return to_ns(message.header.stamp), message.header.frame_id
