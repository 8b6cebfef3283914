# SPDX-License-Identifier: Apache-2.0
"""Measure what it costs to move camera images between two processes.

One process publishes ``sensor_msgs/Image`` at a fixed rate, this one subscribes; what lies
between the two clock readings is told in ``nodes/clients/image_stream.py``. Runs on
whatever middleware ROS 2 is told to use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any


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
        prog="python -m vla_infoentropy_ros bench transport", description=__doc__
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

    from vla_infoentropy_ros.nodes.clients.image_stream import MATCH_TIMEOUT_S, Stream, send
    from vla_infoentropy_ros.nodes.middleware import local_environment, rmw_name

    os.environ |= local_environment()

    stream = Stream(options.width, options.height, options.rate, options.frames,
                    options.reliability, options.domain)
    if options.publisher:
        if send(stream):
            return 0
        print(f"No subscriber within {MATCH_TIMEOUT_S:g} s", file=sys.stderr)
        return 1
    figures = _measure(stream, rmw_name())
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


def _measure(stream: Any, implementation: str) -> Figures:
    from vla_infoentropy_ros.nodes.clients.image_stream import Receiver

    receiver = Receiver(stream)
    child = subprocess.Popen(_publisher_command(stream))  # noqa: S603 - our own command line
    try:
        receiver.spin_until(lambda: child.poll() is not None)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        receiver.close()
    if child.returncode != 0:
        raise RuntimeError(f"The publisher process ended with code {child.returncode}.")
    latencies = receiver.latencies_ms
    values = sorted(latencies.values()) or [float("nan")]
    return Figures(
        implementation=implementation,
        width=stream.width,
        height=stream.height,
        rate_hz=stream.rate_hz,
        reliability=stream.reliability,
        sent=stream.frames,
        received=len(latencies),
        lost=stream.frames - len(latencies),
        median_ms=values[len(values) // 2],
        p95_ms=values[int(len(values) * 0.95)],
        max_ms=values[-1],
    )


def _publisher_command(stream: Any) -> list[str]:
    command = [sys.executable, "-m", "vla_infoentropy_ros.bench.transport", "--publisher"]
    for option, value in (
        ("width", stream.width),
        ("height", stream.height),
        ("rate", stream.rate_hz),
        ("frames", stream.frames),
        ("reliability", stream.reliability),
        ("domain", stream.domain),
    ):
        command += [f"--{option}", str(value)]
    return command


if __name__ == "__main__":
    raise SystemExit(main())
