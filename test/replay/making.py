# SPDX-License-Identifier: Apache-2.0
"""Messages and small bags for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.types import EPISODE, RAW_IMAGE, STRING, type_store

FRAMES = "tf2_msgs/msg/TFMessage"
DATA = Path(__file__).parents[1] / "data"
CASES = DATA / "cases"


def image_message(stamp_s: int, value: int, **changes: object) -> bytes:
    """A 4x6 rgb8 image of one grey value as CDR."""
    types = type_store().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_s, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    fields = {"header": header, "height": 4, "width": 6, "encoding": "rgb8", "is_bigendian": 0,
              "step": 18, "data": np.full(72, value, dtype=np.uint8)} | changes
    return bytes(type_store().serialize_cdr(types[RAW_IMAGE](**fields), RAW_IMAGE))


def text_message(text: str) -> bytes:
    """A std_msgs/String as CDR."""
    return bytes(type_store().serialize_cdr(type_store().types[STRING](data=text), STRING))


def episode_message() -> bytes:
    """The end of an episode as CDR."""
    types = type_store().types
    stamp = types["builtin_interfaces/msg/Time"](sec=9, nanosec=0)
    message = types[EPISODE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=""), seed=1, instruction="a",
        success=True, steps=2, duration=1.0, reason="success", detail="",
        command_latency_ms=np.zeros(2),
    )
    return bytes(type_store().serialize_cdr(message, EPISODE))


def frame_message(stamp_s: int, *frames: tuple[str, str, float]) -> bytes:
    """Transforms of TF, (parent, child, metres along x) each, as CDR."""
    types = type_store().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_s, nanosec=0)
    transforms = [
        types["geometry_msgs/msg/TransformStamped"](
            header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=parent), child_frame_id=child,
            transform=types["geometry_msgs/msg/Transform"](
                translation=types["geometry_msgs/msg/Vector3"](x=x, y=0.0, z=0.0),
                rotation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)),
        ) for parent, child, x in frames
    ]
    return bytes(type_store().serialize_cdr(types[FRAMES](transforms=transforms), FRAMES))


def small_bag(path: Path, storage: str = "mcap") -> Path:
    """An instruction and three frames, the last of a second episode."""
    kinds = ("/instruction", STRING), ("/image", RAW_IMAGE), ("/episode", EPISODE)
    instruction, image, episode = kinds
    return write_bag(path, [
        RawMessage(*image, 3 * 10**9, image_message(2, 20)),
        RawMessage(*instruction, 10**9, text_message("put it there"), latched=True),
        RawMessage(*image, 2 * 10**9, image_message(1, 10)),
        RawMessage(*episode, 35 * 10**8, episode_message()),
        RawMessage(*image, 4 * 10**9, image_message(3, 30)),
    ], storage)


def fingerprint(path: Path) -> dict[str, str]:
    """Content and change time of every file below a folder, or of one file."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(p): f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.stat().st_mtime_ns}"
        for p in files if p.is_file()
    }
