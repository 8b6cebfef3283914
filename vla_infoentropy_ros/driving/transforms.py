# SPDX-License-Identifier: Apache-2.0
"""Where one frame is in another, from the transforms that TF carries; the newest of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import multiply, rotate
from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import UserError, printable

Quaternion = tuple[float, float, float, float]


class TransformError(UserError, ValueError):
    """There is no way from one frame to the other."""


@dataclass(frozen=True)
class Transform:
    """Of a frame in its parent: rotation (w, x, y, z), unit; translation (3,) m.

    stamp_ns: ROS time, 0 where the sender gives none. arrival_s: steady. static: it holds for all
    times, whatever these say.
    """

    parent: str
    rotation: Quaternion
    translation: NDArray[np.float64]
    stamp_ns: int
    arrival_s: float
    static: bool = False


@dataclass(frozen=True)
class Place:
    """Of a frame in another: rotation (w, x, y, z), position (3,) m. stamp_ns, arrival_s: of its
    oldest part that may change; 0 and infinity where none may."""

    rotation: Quaternion
    position: NDArray[np.float64]
    stamp_ns: int
    arrival_s: float


def transforms_in(
    message: Any, static: bool, arrival_s: float
) -> Iterator[tuple[str, Transform]]:
    """By the names of their frames, of a tf2_msgs/TFMessage. static: of /tf_static, and so for all
    times, whatever their stamps."""
    for each in message.transforms:
        at, turn, stamp = each.transform.translation, each.transform.rotation, each.header.stamp
        yield each.child_frame_id.lstrip("/"), Transform(
            each.header.frame_id.lstrip("/"),
            (turn.w, turn.x, turn.y, turn.z),
            np.array([at.x, at.y, at.z]),
            0 if static else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec),
            arrival_s,
            static,
        )


class Transforms:
    """Not a history: of each frame the newest transform. One thread may hear while another asks."""

    def __init__(self) -> None:
        self._of: dict[str, Transform] = {}

    def hear(self, child: str, transform: Transform, latest_ns: int | None = None) -> None:
        """One transform of a message; one that is known gives way to it where it is older, or
        stamped later than ``latest_ns``. Raises TransformError for too many frames."""
        for name in (child, transform.parent):
            within("name_characters", len(name), "a frame of TF", TransformError)
        before = self._of.get(child)
        if before is None:
            within("frames", len(self._of) + 1, "TF so far", TransformError)
        elif 0 < transform.stamp_ns <= before.stamp_ns and not (
            latest_ns is not None and before.stamp_ns > latest_ns
        ):
            return  # older than what is known, or said again
        self._of[child] = transform

    def forget(self) -> None:
        """ROS time begins anew: what may change is to be heard again."""
        self._of = {child: each for child, each in self._of.items() if each.static}

    def find(self, base: str, tip: str) -> Place:
        """Where ``tip`` is in ``base``, which is one of the frames above it.

        Raises TransformError with the frame at which the way ends.
        """
        rotation: Quaternion = (1.0, 0.0, 0.0, 0.0)
        position = np.zeros(3)
        stamp_ns, arrival_s = 0, np.inf
        frame, transforms = tip, self._of
        for _ in range(len(transforms) + 1):
            if frame == base:
                return Place(rotation, position, stamp_ns, arrival_s)
            step = transforms.get(frame)
            if step is None:
                raise TransformError(
                    f"TF has no way from {printable(tip)!r} up to {printable(base)!r}: it ends at "
                    f"{printable(frame)!r}; start robot_state_publisher, or correct "
                    "command.base_frame and command.tool_frame"
                )
            position = step.translation + rotate(step.rotation, position)
            rotation = multiply(step.rotation, rotation)
            if not step.static:
                arrival_s = min(arrival_s, step.arrival_s)
                if step.stamp_ns:
                    stamp_ns = min(stamp_ns or step.stamp_ns, step.stamp_ns)
            frame = step.parent
        raise TransformError(f"TF goes round in circles at {printable(frame)!r}")
