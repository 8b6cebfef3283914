# SPDX-License-Identifier: Apache-2.0
"""What the node listens to: images become frames, everything else is remembered. Callbacks only
check and store; the decoding is done by the worker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.event_handler import SubscriptionEventCallbacks
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from vla_infoentropy_ros.control.watchdog import StampGuard
from vla_infoentropy_ros.nodes.commander import Commander
from vla_infoentropy_ros.nodes.images import (
    ImageDecoder,
    ImageError,
    check_compressed,
    check_raw,
)
from vla_infoentropy_ros.nodes.messages import to_ns
from vla_infoentropy_ros.nodes.qos import CAMERA, LATCHED, NEWEST
from vla_infoentropy_ros.nodes.runner import Frame
from vla_infoentropy_ros.nodes.settings import NodeSettings


class Inputs:
    """Subscriptions of the node. ``on_frame`` and ``on_instruction`` are called by the executor."""

    def __init__(
        self,
        node: Any,
        commander: Commander,
        on_frame: Callable[[Frame], None],
        on_instruction: Callable[[str], None],
    ) -> None:
        self._node, self._commander = node, commander
        self._on_frame = on_frame
        self.guard = StampGuard()
        self._decoder = ImageDecoder()
        self._subscriptions: list[Any] = []
        self._wrist: Any = None
        self._settings = NodeSettings()
        self.problem = self.instruction_problem = ""
        node.create_subscription(
            String,
            "instruction",
            lambda message: self._instruction(message, on_instruction),
            LATCHED,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._instruction_incompatible()
            ),
        )

    def open(self, settings: NodeSettings, views: int) -> None:
        """Subscribe to the cameras."""
        self._settings = settings
        compressed = settings.image_transport == "compressed"
        kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        qos = NEWEST if settings.image_reliability == "reliable" else CAMERA
        self.problem = ""
        callbacks = {f"image{suffix}": self._image, f"wrist_image{suffix}": self._wrist_image}
        for topic, callback in list(callbacks.items())[:views]:
            events = SubscriptionEventCallbacks(
                incompatible_qos=partial(self._incompatible, topic)
            )
            self._subscriptions.append(
                self._node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
            )
        self._wrist, self._views = None, views

    @property
    def cameras(self) -> int:
        """Raw cameras that are listened to."""
        return len(self._subscriptions) * (self._settings.image_transport == "raw")

    @property
    def image_age_s(self) -> float:
        """ROS time since the newest usable image was taken; NaN before the first."""
        newest_ns = self.guard.newest_ns
        if newest_ns is None:
            return math.nan
        return (self._commander.output.now_ns() - newest_ns) / 1e9

    @property
    def overdue(self) -> bool:
        """There is no image as new as it must be while the robot is being commanded."""
        return not self.image_age_s <= self._commander.settings.camera_timeout_s

    def close(self) -> None:
        """Unsubscribe from the cameras."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def reject(self, what: str, reason: str) -> None:
        """Count and say that an image cannot be used."""
        with self._commander.lock:  # the worker rejects too
            self._commander.counters.frames_rejected += 1
        self._node.get_logger().error(f"{what} rejected: {reason}", throttle_duration_sec=2.0)

    def _instruction(self, message: String, tell: Callable[[str], None]) -> None:
        self.instruction_problem = ""
        tell(message.data.strip())

    def _instruction_incompatible(self) -> None:
        self.instruction_problem = (
            "a publisher of instruction is volatile or best effort: nothing arrives from it; let "
            "it be reliable and transient local (ros2 topic pub: --qos-durability transient_local)"
        )
        self._node.get_logger().error(self.instruction_problem)

    def _incompatible(self, topic: str, _event: Any) -> None:
        self.problem = (
            f"a publisher of {topic} is best effort, but image_reliability is reliable: no image "
            "arrives from it; set image_reliability to best_effort"
        )
        self._node.get_logger().error(self.problem)

    def _image(self, message: Any) -> None:
        commander = self._commander
        commander.counters.frames_received += 1
        arrival_s, stamp_ns = time.monotonic(), to_ns(message.header.stamp)
        try:
            self._check(message)
            images = self._complete(message, stamp_ns) if self._stamp_usable(stamp_ns) else ()
        except ImageError as error:
            self.reject("image", str(error))
            images = ()
        with commander.lock:
            commander.watchdog.image(arrival_s, bool(images))
        if images:
            self._on_frame(
                Frame(
                    lambda: self._decode(images, arrival_s),
                    stamp_ns,
                    message.header.frame_id,
                    arrival_s,
                    commander.generation,
                )
            )

    def _wrist_image(self, message: Any) -> None:
        try:
            self._check(message)
            self._wrist = message
        except ImageError as error:
            self.reject("wrist image", str(error))

    def _check(self, message: Any) -> None:
        check = check_compressed if self._settings.image_transport == "compressed" else check_raw
        check(message)

    def _stamp_usable(self, stamp_ns: int) -> bool:
        commander = self._commander
        skew_s = commander.settings.max_clock_skew_s
        verdict = self.guard.check(stamp_ns, commander.output.now_ns(), skew_s)
        if verdict.counted_as == "rejected":
            raise ImageError(verdict.reason)
        if not verdict.usable:
            commander.counters.frames_dropped += 1
            self._node.get_logger().warning(
                f"image dropped: {verdict.reason}", throttle_duration_sec=2.0
            )
        return verdict.usable

    def _complete(self, message: Any, stamp_ns: int) -> Sequence[Any]:
        """The messages that make one observation."""
        if self._views == 1:
            return (message,)
        if self._wrist is None:
            raise ImageError("the policy needs a wrist camera, but no wrist_image has arrived")
        apart_s = abs(stamp_ns - to_ns(self._wrist.header.stamp)) / 1e9
        if apart_s > self._settings.sync_tolerance_s:
            raise ImageError(
                f"the newest wrist_image is {apart_s:.3f} s apart from it "
                f"(sync_tolerance_s={self._settings.sync_tolerance_s})"
            )
        return (message, self._wrist)

    def _decode(self, messages: Sequence[Any], arrival_s: float) -> list[NDArray[np.uint8]]:
        """Called by the worker."""
        compressed = self._settings.image_transport == "compressed"
        decode = self._decoder.compressed if compressed else self._decoder.raw
        decoded: list[NDArray[np.uint8]] = []
        try:
            decoded = [decode(message) for message in messages]
        finally:
            with self._commander.lock:
                self._commander.watchdog.decoded(arrival_s, bool(decoded))
        return decoded
