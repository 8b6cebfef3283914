# SPDX-License-Identifier: Apache-2.0
"""The simulator's end of the topics: camera out, commands in, and the policy's services."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import SetBool, Trigger

from vla_infoentropy_ros.msg import EpisodeResult, InferenceStatus, VlaAction
from vla_infoentropy_ros.nodes.messages import from_twist, to_array, to_ns, to_time
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

CAMERA_FRAME = "camera"
BASE_FRAME = "base_link"


class PolicyLink:
    """Newest messages of the policy, and what is sent to it."""

    def __init__(self, node: Any, policy: str) -> None:
        self._node = node
        self.status: InferenceStatus | None = None
        self.action: VlaAction | None = None
        self.twists: list[NDArray[np.float64]] = []
        self.twist_s = -math.inf
        self.openings: list[float] = []
        self.opening = 1.0
        publisher, subscription = node.create_publisher, node.create_subscription
        self._clock = publisher(Clock, "/clock", NEWEST)
        self._image = publisher(Image, "image", NEWEST)
        self._pose = publisher(PoseStamped, "ee_pose", NEWEST)
        self._instruction = publisher(String, "instruction", LATCHED)
        self._episode = publisher(EpisodeResult, "episode", LATCHED)
        subscription(InferenceStatus, f"{policy}/status", self._on_status, LATCHED)
        self._commands = (
            subscription(VlaAction, "action", self._on_action, QUEUE),
            self._listen(node),
        )
        subscription(Float64, "gripper_command", self._on_gripper, QUEUE)
        self.reset = node.create_client(Trigger, f"{policy}/reset")
        self.enable = node.create_client(SetBool, f"{policy}/enable")

    def _listen(self, node: Any) -> Any:
        """Subscribe to what commands the robot."""
        return node.create_subscription(TwistStamped, "twist_command", self._on_twist, QUEUE)

    def forget_commands(self) -> None:
        """Only commands that come from now on count."""
        self.action = None
        self.twists, self.openings = [], []

    def tell_time(self, stamp_ns: int) -> None:
        self._clock.publish(Clock(clock=to_time(stamp_ns)))

    def instruct(self, text: str) -> None:
        self._instruction.publish(String(data=text))

    def show(self, picture: NDArray[np.uint8], stamp_ns: int) -> None:
        """Publish a camera image (h, w, 3) uint8 RGB."""
        height, width = picture.shape[:2]
        self._image.publish(
            Image(
                header=Header(stamp=to_time(stamp_ns), frame_id=CAMERA_FRAME),
                height=height,
                width=width,
                encoding="rgb8",
                step=3 * width,
                data=to_array(picture, "uint8"),
            )
        )

    def tell_pose(self, position: NDArray[np.float64], yaw: float, stamp_ns: int) -> None:
        """Publish the hand's pose: (3,) m and rad in the base frame."""
        message = PoseStamped(header=Header(stamp=to_time(stamp_ns), frame_id=BASE_FRAME))
        at, turn = message.pose.position, message.pose.orientation
        at.x, at.y, at.z = (float(value) for value in position)
        turn.z, turn.w = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
        self._pose.publish(message)

    def publish_result(self, result: EpisodeResult) -> None:
        self._episode.publish(result)

    def connected(self) -> bool:
        """Someone takes our images and someone sends commands."""
        return bool(self._image.get_subscription_count()) and all(
            each.get_publisher_count() for each in self._commands
        )

    def answer(self, stamp_ns: int) -> tuple[NDArray[np.float64], float] | None:
        """The twist (6,) and the gripper opening that belong to the image of ``stamp_ns``.

        A command topic repeats the last command until a newer one comes, and topics may overtake
        each other. So the command is the one that the action says was sent for it.
        """
        action = self.action
        if action is None or to_ns(action.observation_stamp) != stamp_ns:
            return None
        twist = from_twist(action.command)
        if not any(np.array_equal(twist, seen) for seen in self.twists):
            return None
        if action.gripper_opening not in self.openings:
            return None
        return twist, float(action.gripper_opening)

    def current_twist(self, timeout_s: float) -> NDArray[np.float64]:
        """The newest twist (6,), zero once it is older than ``timeout_s`` (wall-clock)."""
        if not self.twists or time.monotonic() - self.twist_s > timeout_s:
            return np.zeros(6)
        return self.twists[-1]

    def _on_status(self, message: InferenceStatus) -> None:
        self.status = message

    def _on_action(self, message: VlaAction) -> None:
        self.action = message

    def _on_twist(self, message: TwistStamped) -> None:
        self.twists = [*self.twists[-15:], from_twist(message.twist)]
        self.twist_s = time.monotonic()

    def _on_gripper(self, message: Float64) -> None:
        self.openings = [*self.openings[-15:], message.data]
        self.opening = message.data
