# SPDX-License-Identifier: Apache-2.0
"""Measure what it costs to move camera images between two processes.

One process publishes ``sensor_msgs/Image`` at a fixed rate, this one subscribes. Latency runs from
just before ``publish()`` to the start of the subscription callback: both serialisations, the
transport and the wake-up of the executor are inside. Runs on ROS 2 and on the standalone rclpy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

TOPIC = "transport_benchmark"
MATCH_TIMEOUT_SEC = 20.0


@dataclass(frozen=True)
class Figures:
    """Result of one run; times in milliseconds."""

    implementation: str
    width: int
    height: int
    rate_hz: float
    reliability: str
    sent: int
    received: int
    lost: int
    median_ms: float
    p95_ms: float
    max_ms: float


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its figures; returns 1 when a frame was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros.bench transport", description=__doc__
    )
    parser.add_argument("--width", type=int, default=640, help="pixels (default: 640)")
    parser.add_argument("--height", type=int, default=480, help="pixels (default: 480)")
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second (default: 30)")
    parser.add_argument("--frames", type=int, default=300, help="frames to send (default: 300)")
    parser.add_argument(
        "--reliability",
        choices=("reliable", "best_effort"),
        default="reliable",
        help="QoS of both sides (default: reliable)",
    )
    parser.add_argument("--domain", type=int, default=None, help="ROS domain (default: random)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--publisher", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    for name in ("width", "height", "rate", "frames"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name} is {getattr(options, name)}; it must be greater than 0.")
    if options.domain is None:
        options.domain = 1 + int.from_bytes(os.urandom(2), "little") % 200

    from vla_infoentropy_ros.standalone import ensure_rclpy

    implementation = ensure_rclpy()
    if options.publisher:
        return _publish(options)
    figures = _measure(options, implementation)
    print(
        f"{figures.width}x{figures.height} rgb8 at {figures.rate_hz:g} Hz, "
        f"{figures.reliability}, {figures.implementation}: "
        f"{figures.received}/{figures.sent} frames, {figures.lost} lost; "
        f"latency median {figures.median_ms:.2f} ms, 95 % {figures.p95_ms:.2f} ms, "
        f"max {figures.max_ms:.2f} ms"
    )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(asdict(figures), file, indent=2)
    return 1 if figures.lost else 0


def _qos(options: Any) -> Any:
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    # A second of frames: a reader that is held up for a moment catches up instead of losing some.
    return QoSProfile(depth=30, reliability=ReliabilityPolicy[options.reliability.upper()])


def _publish(options: Any) -> int:
    """Send the frames; the sequence number travels in frame_id, the time of sending in stamp."""
    import array

    import rclpy
    from sensor_msgs.msg import Image

    rclpy.init(args=[], domain_id=options.domain)
    node = rclpy.create_node("transport_benchmark_publisher")
    publisher = node.create_publisher(Image, TOPIC, _qos(options))
    limit = time.monotonic() + MATCH_TIMEOUT_SEC
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > limit:
            print(f"No subscriber within {MATCH_TIMEOUT_SEC:g} s", file=sys.stderr)
            return 1
        time.sleep(0.02)
    time.sleep(0.2)  # the subscriber's side of the match
    message = Image(width=options.width, height=options.height, encoding="rgb8")
    message.step = options.width * 3
    message.data = array.array("B", os.urandom(message.step * options.height))
    start = time.monotonic()
    for index in range(options.frames):
        time.sleep(max(0.0, start + index / options.rate - time.monotonic()))
        message.header.frame_id = str(index)
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)
    time.sleep(1.0)  # repairs of lost fragments
    node.destroy_node()
    rclpy.shutdown()
    return 0


def _set_when_ended(child: subprocess.Popen[bytes], done: threading.Event) -> None:
    child.wait()
    done.set()


def _measure(options: Any, implementation: str) -> Figures:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    latencies: dict[str, float] = {}

    def receive(message: Any) -> None:
        stamp = message.header.stamp
        sent = stamp.sec * 10**9 + stamp.nanosec
        latencies.setdefault(message.header.frame_id, (time.time_ns() - sent) / 1e6)

    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=options.domain)
    node = rclpy.create_node("transport_benchmark_subscriber", context=context)
    node.create_subscription(Image, TOPIC, receive, _qos(options))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    command = [sys.executable, "-m", "vla_infoentropy_ros.bench.transport", "--publisher"]
    for name in ("width", "height", "rate", "frames", "reliability", "domain"):
        command += [f"--{name}", str(getattr(options, name))]
    done = threading.Event()
    child = subprocess.Popen(command)
    threading.Thread(target=_set_when_ended, args=(child, done), daemon=True).start()
    try:
        while not done.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    if child.returncode != 0:
        raise RuntimeError(f"The publisher process ended with code {child.returncode}.")
    values = sorted(latencies.values()) or [float("nan")]
    return Figures(
        implementation=implementation,
        width=options.width,
        height=options.height,
        rate_hz=options.rate,
        reliability=options.reliability,
        sent=options.frames,
        received=len(latencies),
        lost=options.frames - len(latencies),
        median_ms=values[len(values) // 2],
        p95_ms=values[int(len(values) * 0.95)],
        max_ms=values[-1],
    )


if __name__ == "__main__":
    raise SystemExit(main())
