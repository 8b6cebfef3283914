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
from vla_infoentropy_ros.driving.intake import VIEWS
from vla_infoentropy_ros.driving.robot_state import Pose, StateError
from vla_infoentropy_ros.driving.settings import NodeSettings, PolicyNodeSettings
from vla_infoentropy_ros.nodes.bounded import subscribe
from vla_infoentropy_ros.nodes.messages import to_ns
from vla_infoentropy_ros.nodes.publishers import TopicSources
from vla_infoentropy_ros.nodes.qos import CAMERA, LATCHED, NEWEST
from vla_infoentropy_ros.nodes.tf_listener import TfListener
from vla_infoentropy_ros.nodes.unheard import Unheard


class Inputs:
    """Subscriptions of the node. ``on_instruction`` is told what the topic says,
    ``on_no_instruction`` why what came there cannot be read."""

    def __init__(
        self,
        node: Any,
        driver: Driver,
        sources: TopicSources,
        on_instruction: Callable[[str], None],
        on_no_instruction: Callable[[str], None],
    ) -> None:
        self._node, self._driver, self._sources = node, driver, sources
        self._opened: dict[str, Any] = {}
        self.cameras = 0  # raw ones that are listened to
        self._tf: TfListener | None = None
        self._on_instruction = on_instruction
        self._unheard = Unheard(node)
        told = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._instruction_incompatible()
        )
        self._told = self._listen(
            "instruction", String, self._instruction, LATCHED, dropped=on_no_instruction,
            event_callbacks=told,
        )

    def look(self) -> None:
        """See who publishes; to be called now and then."""
        self._unheard.look(self._opened | {"instruction": self._told})

    @property
    def problem(self) -> str:
        """Why no image arrives, if that is known; else ""."""
        return next(filter(None, map(self._unheard.reason, VIEWS)), "")

    @property
    def instruction_problem(self) -> str:
        """Why no instruction arrives, if that is known; else ""."""
        return self._unheard.reason("instruction")

    def _listen(
        self, topic: str, kind: Any, callback: Callable[[Any], None], qos: Any, **options: Any
    ) -> Any:
        subscription = subscribe(self._node, kind, topic, callback, qos, **options)
        self._sources.add(topic, subscription)
        return subscription

    def open(self, settings: PolicyNodeSettings, views: int) -> None:
        """Subscribe to the cameras, and to what the robot tells of itself."""
        self._open_robot(settings)
        self._open_cameras(settings.node, views)

    def _open_robot(self, settings: PolicyNodeSettings) -> None:
        """What commands or the policy's state are made of, and nothing else: a topic on which
        nothing depends may have as many sources as it likes."""
        listen, opened = self._listen, self._opened
        if settings.command.pose_source == "tf":
            self._tf = TfListener(self._node, self._driver)
        else:
            opened["ee_pose"] = listen("ee_pose", PoseStamped, self._pose, NEWEST)
        by_joints = settings.command.output == "trajectory"
        if by_joints or settings.state.names:
            opened["joint_states"] = listen("joint_states", JointState, self._joints, NEWEST)
        if by_joints:
            opened["robot_description"] = listen(
                "robot_description", String, self._description, LATCHED,
                budget="description_characters",
            )

    def _open_cameras(self, settings: NodeSettings, views: int) -> None:
        raw = settings.image_transport == "raw"
        self.cameras = views * raw
        kind, suffix = (Image, "") if raw else (CompressedImage, "/compressed")
        qos = NEWEST if settings.image_reliability == "reliable" else CAMERA
        for view in VIEWS[:views]:
            topic = view + suffix
            callback = self._image if view == VIEWS[0] else functools.partial(self._further, view)
            events = SubscriptionEventCallbacks(
                incompatible_qos=functools.partial(self._incompatible, view, topic)
            )
            camera = self._node.create_subscription(
                kind, topic, callback, qos, event_callbacks=events
            )
            self._opened[view] = camera
            self._sources.add(view, camera)

    def close(self) -> None:
        """Unsubscribe from what `open` listens to."""
        for name, subscription in self._opened.items():
            self._sources.remove(name)
            self._unheard.arrived(name)
            self._node.destroy_subscription(subscription)
        self._opened, self.cameras = {}, 0
        if self._tf is not None:
            self._tf.close()
            self._tf = None

    def _instruction(self, message: String) -> None:
        self._unheard.arrived("instruction")
        self._on_instruction(message.data)

    def _instruction_incompatible(self) -> None:
        self._unheard.tell(
            "instruction",
            "a publisher of instruction is volatile or best effort: nothing arrives from it; let "
            "it be reliable and transient local (ros2 topic pub: --qos-durability transient_local)",
        )

    def _incompatible(self, view: str, topic: str, event: object) -> None:
        self._unheard.tell(
            view,
            f"a publisher of {topic} is best effort, but image_reliability is reliable: no image "
            "arrives from it; set image_reliability to best_effort",
        )

    def _image(self, message: Any) -> None:
        self._unheard.arrived(VIEWS[0])
        self._driver.image(self._picture(message), *_origin(message))

    def _further(self, view: str, message: Any) -> None:
        self._unheard.arrived(view)
        self._driver.further_image(view, self._picture(message), *_origin(message))

    def _picture(self, message: Any) -> RawPicture | PackedPicture:
        kind = RawPicture if isinstance(message, Image) else PackedPicture
        return kind.of(message)

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
