# SPDX-License-Identifier: Apache-2.0
"""Camera images from one process to another, with the time that each took.

The number of a frame travels in ``frame_id``, the time of sending in ``stamp``. Latency runs from
just before ``publish()`` to the start of the subscription callback: both serialisations, the
transport and the wake-up of the executor are inside.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from vla_infoentropy_ros.nodes.discovery import stay_local

TOPIC = "transport_benchmark"
MATCH_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Stream:
    """What is sent. reliability: reliable or best_effort. domain: ROS_DOMAIN_ID of both ends."""

    width: int
    height: int
    rate_hz: float
    frames: int
    reliability: str
    domain: int

    @property
    def qos(self) -> QoSProfile:
        """A second of frames: a reader that is held up for a moment catches up, and loses none."""
        return QoSProfile(depth=30, reliability=ReliabilityPolicy[self.reliability.upper()])


def send(stream: Stream) -> bool:
    """Publish the frames at their rate; false if nobody subscribes."""
    stay_local()
    rclpy.init(args=[], domain_id=stream.domain)
    node = rclpy.create_node("transport_benchmark_publisher")
    publisher = node.create_publisher(Image, TOPIC, stream.qos)
    limit_s = time.monotonic() + MATCH_TIMEOUT_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > limit_s:
            return False
        time.sleep(0.02)
    time.sleep(0.2)  # the subscriber's side of the match
    message = Image(width=stream.width, height=stream.height, encoding="rgb8")
    message.step = stream.width * 3
    message.data = array("B", os.urandom(message.step * stream.height))
    began_s = time.monotonic()
    for index in range(stream.frames):
        time.sleep(max(0.0, began_s + index / stream.rate_hz - time.monotonic()))
        message.header.frame_id = str(index)
        now_ns = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
        publisher.publish(message)
    time.sleep(1.0)  # repairs of lost fragments
    node.destroy_node()
    rclpy.shutdown()
    return True


class Receiver:
    """Subscribes; latencies_ms: frame number to milliseconds, of what arrived so far."""

    def __init__(self, stream: Stream) -> None:
        self.latencies_ms: dict[str, float] = {}
        self._context = rclpy.Context()
        stay_local()
        rclpy.init(args=[], context=self._context, domain_id=stream.domain)
        self._node = rclpy.create_node("transport_benchmark_subscriber", context=self._context)
        self._node.create_subscription(Image, TOPIC, self._receive, stream.qos)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def spin_until(self, done: Callable[[], bool]) -> None:
        """Receive until ``done()``."""
        while not done():
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _receive(self, message: Any) -> None:
        now_ns, stamp = time.time_ns(), message.header.stamp
        sent_ns = stamp.sec * 10**9 + stamp.nanosec
        self.latencies_ms.setdefault(message.header.frame_id, (now_ns - sent_ns) / 1e6)
