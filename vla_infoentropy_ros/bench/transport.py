# SPDX-License-Identifier: Apache-2.0
"""Measure what it costs to move camera images between two processes.

One process publishes ``sensor_msgs/Image`` at a fixed rate, this one subscribes; what lies
between the two clock readings is told in ``nodes/clients/image_stream.py``. Runs on
whatever middleware ROS 2 is told to use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from vla_infoentropy_ros.argument_types import domain, many, out_file, pixels, positive
from vla_infoentropy_ros.bench import MeasuringError, record


@dataclass(frozen=True)
class Figures:
    """Result of one run; times in milliseconds, None where nothing arrived."""

    implementation: str
    width: int
    height: int
    rate_hz: float
    reliability: str
    sent: int
    received: int
    lost: int
    median_ms: float | None
    p95_ms: float | None
    max_ms: float | None


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its figures; returns 1 when a frame was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench transport", description=__doc__
    )
    parser.add_argument("--width", type=pixels, default=640, help="pixels (default: 640)")
    parser.add_argument("--height", type=pixels, default=480, help="pixels (default: 480)")
    parser.add_argument("--rate", type=positive, default=30.0,
                        help="frames per second (default: 30)")
    parser.add_argument("--frames", type=many, default=300, help="frames to send (default: 300)")
    parser.add_argument(
        "--reliability",
        choices=("reliable", "best_effort"),
        default="reliable",
        help="QoS of both sides (default: reliable)",
    )
    parser.add_argument("--domain", type=domain, default=None, help="ROS domain (default: random)")
    parser.add_argument("--json", type=out_file, metavar="FILE",
                        help="write the figures to a file as well")
    parser.add_argument("--publisher", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
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
        f"latency median {_told(figures.median_ms)}, 95 % {_told(figures.p95_ms)}, "
        f"max {_told(figures.max_ms)}"
    )
    record.write(options.json, asdict(figures))
    return 1 if figures.lost else 0


def _told(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:.2f} ms"


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
        raise MeasuringError(f"the publisher process ended with code {child.returncode}; why "
                             "stands above")
    return _figures(stream, implementation, list(receiver.latencies_ms.values()))


def _figures(stream: Any, implementation: str, latencies_ms: list[float]) -> Figures:
    values = sorted(latencies_ms)
    return Figures(
        implementation=implementation,
        width=stream.width,
        height=stream.height,
        rate_hz=stream.rate_hz,
        reliability=stream.reliability,
        sent=stream.frames,
        received=len(values),
        lost=stream.frames - len(values),
        median_ms=statistics.median(values) if values else None,
        p95_ms=values[int(len(values) * 0.95)] if values else None,
        max_ms=max(values, default=None),
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
