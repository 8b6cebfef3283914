# SPDX-License-Identifier: Apache-2.0
"""Training pictures on disk: one file for some hundred pictures of one task.

Pictures are lossless PNG, so that training sees what the policy will see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 224
"""Pixels of a stored picture; the policy's."""


@dataclass
class Shard:
    """N pictures with B named bodies and G goals.

    labels (N, G, 7): the expert's command for each goal; points (N, B + 1, 3): the bodies' middles
    and last the hand, metres; pixels (N, B + 1, 2): where they appear, columns and rows as shares
    of the picture; held (N, B). goal_bodies (G, 2): indices of what and where.
    """

    instructions: list[str]
    names: list[str]
    goal_bodies: NDArray[np.int64]
    pictures: list[bytes] = field(default_factory=list)
    labels: list[NDArray[np.float64]] = field(default_factory=list)
    points: list[NDArray[np.float64]] = field(default_factory=list)
    pixels: list[NDArray[np.float64]] = field(default_factory=list)
    held: list[NDArray[np.bool_]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pictures)

    def write(self, path: Path) -> None:
        """Write so that ``path`` is at every moment whole or absent."""
        ends = np.cumsum([len(data) for data in self.pictures])
        part = path.with_name(path.stem + ".part.npz")
        np.savez(
            part,
            instructions=np.array(self.instructions), names=np.array(self.names),
            goal_bodies=self.goal_bodies,
            pictures=np.frombuffer(b"".join(self.pictures), np.uint8), ends=ends,
            labels=np.array(self.labels, np.float32), points=np.array(self.points, np.float32),
            pixels=np.array(self.pixels, np.float32), held=np.array(self.held, np.bool_),
        )
        os.replace(part, path)


def compress(picture: NDArray[np.uint8]) -> bytes:
    """A rendered RGB picture to the PNG of its reduction to the policy's size."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR),
                              [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise RuntimeError("OpenCV could not write a PNG; is the disk of /tmp full?")
    return bytes(data)


def decompress(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PNG bytes to the RGB picture (224, 224, 3)."""
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a stored picture is no PNG; delete the shard and collect it again")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
