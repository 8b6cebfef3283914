# SPDX-License-Identifier: Apache-2.0
"""Images as they come to RGB arrays; anything that is not what it says it is gets refused.

Each kind has two ends: `check` looks at names and sizes alone, so that whoever receives messages
may call it; `rgb` reads headers and pixels, and belongs to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.pictures import read_header
from vla_infoentropy_ros.foreign.text import UserError, shown

# encoding: channels, and OpenCV's conversion to RGB
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
LONGEST_SIDE = 8192
_UNPACKED = {1: "mono8", 3: "bgr8", 4: "bgra8"}  # what OpenCV makes of so many channels


class ImageError(UserError, ValueError):
    """An image that cannot be used; the message says what is wrong with it."""


class Picture(Protocol):
    """One image of one camera, not decoded yet."""

    def check(self) -> None:
        """Raises ImageError where names and sizes show that it cannot be used."""
        ...

    def rgb(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB of its own memory. Raises ImageError."""
        ...


@dataclass(frozen=True)
class RawPicture:
    """As a sensor_msgs/Image holds it; step: bytes per row. data: bytes, or an array of them."""

    encoding: str
    width: int
    height: int
    step: int
    data: Any

    @classmethod
    def of(cls, message: Any) -> RawPicture:
        return cls(message.encoding, message.width, message.height, message.step, message.data)

    def check(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ImageError(
                f"encoding {shown(self.encoding)} is not supported; use one of "
                f"{', '.join(ENCODINGS)}"
            )
        check_size(self.width, self.height)
        row = self.width * ENCODINGS[self.encoding][0]
        if self.step < row:
            raise ImageError(f"step {self.step} is below width x channels = {row} bytes")
        if len(self.data) != self.step * self.height:
            raise ImageError(
                f"{len(self.data)} bytes of data, but step x height = {self.step * self.height}"
            )
        within("picture_bytes", len(self.data), "raw image", ImageError)

    def rgb(self) -> NDArray[np.uint8]:
        self.check()
        channels, _ = ENCODINGS[self.encoding]
        rows = np.frombuffer(self.data, np.uint8).reshape(self.height, self.step)
        pixels = rows[:, : self.width * channels].reshape(self.height, self.width, channels)
        return _converted(np.ascontiguousarray(pixels), self.encoding)


@dataclass(frozen=True)
class PackedPicture:
    """As a sensor_msgs/CompressedImage holds it."""

    format: str
    data: Any

    @classmethod
    def of(cls, message: Any) -> PackedPicture:
        return cls(message.format, message.data)

    def check(self) -> None:
        if not len(self.data):
            raise ImageError("no data in the compressed image")
        within("picture_packed_bytes", len(self.data), "compressed image", ImageError)
        if not any(name in self.format.lower() for name in ("jpeg", "jpg", "png")):
            raise ImageError(f"format {shown(self.format)} is not supported; use jpeg or png")

    def rgb(self) -> NDArray[np.uint8]:
        self.check()
        data = np.frombuffer(self.data, np.uint8)
        header = read_header(data.data, ImageError)
        check_size(header.width, header.height)
        try:
            pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise ImageError(f"cannot be decoded: {error}") from error
        if pixels is None:
            raise ImageError(f"cannot be decoded: damaged {header.kind} data")
        if pixels.dtype != np.uint8:
            raise ImageError(f"decoded to {pixels.dtype}; use an image of 8 bits per channel")
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if channels not in _UNPACKED:
            raise ImageError("cannot be decoded: the data hold no colour or grey image")
        return _converted(pixels.astype(np.uint8, copy=False), _UNPACKED[channels])


def check_size(width: int, height: int) -> None:
    """Raises ImageError where a side is zero or longer than any camera's."""
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise ImageError(f"size {width}x{height}: each side must lie in 1 .. {LONGEST_SIDE}")


def _converted(pixels: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """(h, w, channels) of an encoding to RGB, in memory of its own."""
    _, conversion = ENCODINGS[encoding]
    if conversion is None:
        return pixels.copy()
    return np.require(cv2.cvtColor(pixels, conversion), np.uint8, ["C", "W"])
