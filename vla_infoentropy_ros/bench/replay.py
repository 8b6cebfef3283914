# SPDX-License-Identifier: Apache-2.0
"""``bench replay``: memory and time of a replay of minutes of a 640x480 camera at 30 Hz."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_infoentropy_ros.argument_types import count, out_file, positive
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.arguments import variant_name
from vla_infoentropy_ros.driving.images import PackedPicture
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.replay.bag_writer import BagWriter, RawMessage
from vla_infoentropy_ros.replay.types import COMPRESSED_IMAGE, STRING, packed
from vla_infoentropy_ros.variants import Variant

_RATE_HZ, _SIZE = 30, (640, 480)
_FIRST_NS = 1_700_000_000 * 10**9
_FORMAT = "bgr8; jpeg compressed bgr8"
_TASK = "put the red cube on the white plate"
_MOST_MEMORY, _MOST_OVERHEAD = 1.5 * 2**30, 0.10


def frames(count: int) -> Iterator[bytes]:
    """JPEG pictures of a textured table over which a red square circles."""
    width, height = _SIZE
    noise = np.random.default_rng(0).integers(90, 130, (height // 4, width // 4, 3), np.uint8)
    table = cv2.resize(noise, _SIZE, interpolation=cv2.INTER_CUBIC)
    for index in range(count):
        picture = table.copy()
        turn = 2 * np.pi * index / (8 * _RATE_HZ)
        x, y = int(320 + 200 * np.cos(turn)), int(240 + 150 * np.sin(turn))
        cv2.rectangle(picture, (x - 30, y - 30), (x + 30, y + 30), (30, 30, 220), -1)
        yield cv2.imencode(".jpg", picture)[1].tobytes()


def make_bag(path: Path, minutes: float) -> int:
    """Write the recording; the number of its images."""
    count = round(minutes * 60 * _RATE_HZ)
    with BagWriter(path) as writer:
        told = packed(STRING, {"data": _TASK})
        writer.add(RawMessage("/instruction", STRING, _FIRST_NS, told, latched=True))
        for index, data in enumerate(frames(count)):
            stamp_ns = _FIRST_NS + round((index + 1) * 1e9 / _RATE_HZ)
            values = {"header": (stamp_ns, "camera"), "format": _FORMAT,
                      "data": np.frombuffer(data, np.uint8)}
            writer.add(RawMessage("/camera/image_raw/compressed", COMPRESSED_IMAGE,
                                  stamp_ns + 5_000_000, packed(COMPRESSED_IMAGE, values)))
    return count


def main(argv: list[str] | None = None) -> int:
    """Make, replay, judge: 0, or 1 where memory or time is above its limit."""
    options = _parser().parse_args(argv)
    machine = record.machine()
    with tempfile.TemporaryDirectory(prefix="bench-replay-", dir=options.scratch) as scratch:
        bag, out = Path(scratch, "recording"), Path(scratch, "out")
        print(f"making {options.minutes:g} minutes of a camera ...", file=sys.stderr)
        images = make_bag(bag, options.minutes)
        size = sum(file.stat().st_size for file in bag.iterdir())
        command = [sys.executable, "-m", "vla_infoentropy_ros", "replay", str(bag),
                   "--selector", options.selector, "--out", str(out)]
        before_ms = policy_alone_ms(options.selector, options.alone)
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command line
        if code:
            print(f"error: the replay ended with {code}", file=sys.stderr)
            return 1
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        after_ms = policy_alone_ms(options.selector, options.alone)
        summary = json.loads((out / "replay.json").read_text(encoding="utf-8"))
    figures = _figures(summary, peak, (before_ms, after_ms))
    figures |= {"images_in_bag": images, "bag_bytes": size, "alone_steps": options.alone,
                "measured_on": machine["hardware"] | machine["versions"]}
    print(json.dumps(figures, indent=2))
    record.write(options.out, figures)
    good = peak < _MOST_MEMORY and figures["overhead"] <= _MOST_OVERHEAD
    return 0 if good else 1


def policy_alone_ms(selector: str, count: int) -> float:
    """Mean of ``count`` steps over the first of the same pictures, with nothing around them."""
    session = Variant.parse(selector).session(load_policy("embedded", LoadOptions()))
    session.set_instruction(_TASK)
    pictures = [PackedPicture(_FORMAT, data).rgb() for data in frames(count)]
    session.step([pictures[0]])  # warms up
    began_s = time.perf_counter()
    for picture in pictures:
        session.step([picture])
    return (time.perf_counter() - began_s) * 1e3 / count


def _figures(
    summary: dict[str, Any], peak: int, alone_ms: tuple[float, float]
) -> dict[str, Any]:
    """alone_ms: `policy_alone_ms` before and after the replay."""
    used, seconds = summary["images"]["used"], summary["seconds"]
    per_image_ms, alone = seconds["whole"] * 1e3 / used, sum(alone_ms) / 2
    return {
        "command": "python -m vla_infoentropy_ros bench replay",
        "images_replayed": used,
        "selector": ", ".join(summary["variants"]),
        "peak_memory_bytes": peak,
        "seconds": seconds,
        "per_image_ms": round(per_image_ms, 3),
        "policy_alone_ms": [round(each, 3) for each in alone_ms],
        "overhead": round(per_image_ms / alone - 1, 4),
        "outside_steps": round(seconds["whole"] / seconds["policy"] - 1, 4),
        "latency_ms": {n: f["latency_ms"] for n, f in summary["variants"].items()},
        "limits": {"peak_memory_bytes": _MOST_MEMORY, "overhead": _MOST_OVERHEAD},
        "definitions": {
            "seconds": "whole: of all frames, read, judged, decoded, stepped, compared, written "
            "with their overlays; policy: sum of the step latencies",
            "policy_alone_ms": "mean step on the same pictures, decoded before, with no replay "
            "around it: before the replay, and after it",
            "overhead": "per_image_ms / mean of policy_alone_ms - 1",
            "outside_steps": "whole / policy - 1",
            "peak_memory_bytes": "largest resident set of the replay, weights included",
        },
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros bench replay",
                                     description=__doc__)
    parser.add_argument("--minutes", type=positive, default=10.0, metavar="N",
                        help="of recording to make (default: %(default)s)")
    parser.add_argument("--selector", type=variant_name, default="dense")
    parser.add_argument("--alone", type=count, default=200, metavar="N",
                        help="steps of the policy alone, before and after (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="folder with room for the recording")
    parser.add_argument("--out", type=out_file, metavar="FILE", help="write the figures there too, "
                        "docs/results/replay.json")
    return parser
