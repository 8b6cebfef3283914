# SPDX-License-Identifier: Apache-2.0
"""A robot for hours: camera, operator and command recorder at the other end of the topics."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.discovery import stay_local
from vla_infoentropy_ros.nodes.messages import fault_text
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

_PICTURES = 8  # prepared beforehand: making noise must not slow the camera down


class SoakRobot(Node):
    """Times are monotonic seconds; everything is recorded, nothing is judged."""

    command_rate_hz = 30.0

    def __init__(self, width: int, height: int) -> None:
        super().__init__("soak_robot")
        self.commands_s: list[float] = []
        self.overheads_ms: list[float] = []
        self.images = self.lost_images = 0
        self._status: InferenceStatus | None = None
        self._pictures = [
            Image(
                width=width,
                height=height,
                encoding="rgb8",
                step=3 * width,
                data=noise(width, height, seed),
            )
            for seed in range(_PICTURES)
        ]
        self._camera = self.create_publisher(Image, "image", NEWEST)
        self._mouth = self.create_publisher(String, "instruction", LATCHED)
        self._enable = self.create_client(SetBool, "policy_node/enable")
        self.create_subscription(InferenceStatus, "policy_node/status", self._on_status, LATCHED)
        self.create_subscription(TwistStamped, "twist_command", self._on_twist, QUEUE)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QUEUE)

    def start(self, wait: Callable[[Callable[[], Any], str], None], instruction: str) -> None:
        """Meet, instruct and enable the node, and wait for its first command."""
        wait(lambda: self._status is not None, "the node does not start")
        self._mouth.publish(String(data=instruction))
        wait(lambda: self._instructed == instruction, "the instruction was not taken")
        wait(self._enable.service_is_ready, "no service to enable the node")
        future = self._enable.call_async(SetBool.Request(data=True))
        wait(future.done, "the node cannot be enabled")
        wait(lambda: self._camera.get_subscription_count() > 0, "no one takes images")
        self.look()
        wait(lambda: bool(self.commands_s), "no command")
        self.commands_s.clear()
        self.overheads_ms.clear()

    @property
    def _instructed(self) -> str:
        return "" if self._status is None else str(self._status.instruction)

    @property
    def fault(self) -> str:
        """Code and sentence of the fault that is latched, or empty."""
        return fault_text(self._status)

    def look(self) -> None:
        """Publish the next picture."""
        picture = self._pictures[self.images % _PICTURES]
        picture.header.stamp = self.get_clock().now().to_msg()
        self._camera.publish(picture)
        self.images += 1

    def _on_twist(self, message: TwistStamped) -> None:
        self.commands_s.append(time.monotonic())

    def _on_status(self, message: InferenceStatus) -> None:
        new = self._status is not None and message.actions_issued > self._status.actions_issued
        self._status = message
        if new:
            self.overheads_ms.append(message.image_to_command_ms - message.latency_ms)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        told = (each for status in message.status for each in status.values)
        self.lost_images = next(
            (int(each.value) for each in told if each.key == "image_lost"), self.lost_images
        )


@contextmanager
def joined() -> Iterator[SingleThreadedExecutor]:
    """In the domain of ROS_DOMAIN_ID, with an executor."""
    stay_local()
    rclpy.init()
    executor = SingleThreadedExecutor()
    try:
        yield executor
    finally:
        executor.shutdown()
        rclpy.try_shutdown()


def noise(width: int, height: int, seed: int) -> array[int]:
    """A picture's bytes, rgb8."""
    rng = np.random.default_rng(seed)
    return array("B", rng.integers(0, 256, width * height * 3, dtype=np.uint8).tobytes())
