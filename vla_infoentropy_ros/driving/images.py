# SPDX-License-Identifier: Apache-2.0
"""Images as they come to RGB arrays; anything that is not what it says it is gets refused.

Each kind has two ends: `check` looks at names and sizes alone, so that whoever receives messages
may call it; `rgb` reads headers and pixels, and belongs to the worker. One table says which
encodings are taken, of raw images and of what was packed alike.
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


@dataclass(frozen=True)
class Encoding:
    """How pixels of 8 bits per channel lie in the data.

    channels: bytes per pixel of a row. to_rgb: OpenCV's conversion, None where they are RGB.
    paired: sides that must be even, "width" or both, since colours are shared by two pixels.
    planar: the colours follow all of the brightness, half as many rows again.
    """

    channels: int
    to_rgb: int | None
    paired: tuple[str, ...] = ()
    planar: bool = False

    def rows(self, height: int) -> int:
        """Rows of data of a picture so high."""
        return height + height // 2 if self.planar else height


_BOTH = ("width", "height")
# OpenCV's older names of the mosaics tell the second row; these tell the first, as ROS does.
ENCODINGS = {
    "rgb8": Encoding(3, None),
    "bgr8": Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerRGGB2RGB, _BOTH),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerBGGR2RGB, _BOTH),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGBRG2RGB, _BOTH),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGRBG2RGB, _BOTH),
    "yuyv": Encoding(2, cv2.COLOR_YUV2RGB_YUYV, ("width",)),
    "yuv422_yuy2": Encoding(2, cv2.COLOR_YUV2RGB_YUYV, ("width",)),
    "uyvy": Encoding(2, cv2.COLOR_YUV2RGB_UYVY, ("width",)),
    "yuv422": Encoding(2, cv2.COLOR_YUV2RGB_UYVY, ("width",)),
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, _BOTH, planar=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, _BOTH, planar=True),
}
CODECS = ("jpeg", "jpg", "png")
LONGEST_SIDE = 8192
_UNPACKED = {1: "mono8", 3: "bgr8", 4: "bgra8"}  # what OpenCV makes of so many channels


class ImageError(UserError, ValueError):
    """An image that cannot be used; the message says what is wrong with it."""


class Picture(Protocol):
    """One image of one camera, not decoded yet."""

    @property
    def data(self) -> Any:
        """Its bytes, as they came; an array of bytes, or anything that shows its memory."""
        ...

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
        encoding = _encoding(self.encoding)
        check_size(self.width, self.height)
        for side in encoding.paired:
            if getattr(self, side) % 2:
                raise ImageError(f"{side} {getattr(self, side)} is odd, which {self.encoding} "
                                 "cannot be")
        row = self.width * encoding.channels
        if self.step < row:
            raise ImageError(f"step {self.step} is below width x channels = {row} bytes")
        rows = encoding.rows(self.height)
        if len(self.data) != self.step * rows:
            name = "height" if rows == self.height else "1.5 height"
            raise ImageError(
                f"{len(self.data)} bytes of data, but step x {name} = {self.step * rows}"
            )
        within("picture_bytes", len(self.data), "raw image", ImageError)

    def rgb(self) -> NDArray[np.uint8]:
        self.check()
        encoding = ENCODINGS[self.encoding]
        rows = np.frombuffer(self.data, np.uint8).reshape(-1, self.step)
        pixels = rows[:, : self.width * encoding.channels]
        return _converted(pixels.reshape(len(rows), self.width, -1), encoding)


@dataclass(frozen=True)
class PackedFormat:
    """The ``format`` of a CompressedImage: ``<source>; <codec> compressed <target>``, or a codec.

    source: encoding of the picture that was packed, or "" where it is not told. target: encoding
    in which the codec was handed it, "" for as it was.
    """

    source: str
    codec: str
    target: str

    @classmethod
    def parse(cls, text: str) -> PackedFormat:
        """Raises ImageError for codecs and encodings that are not taken."""
        source, told, rest = text.partition(";")
        if not told:
            source, rest = "", text
        codec, _, target = rest.strip().partition(" ")
        target = target.strip().removeprefix("compressed").strip()
        found = cls(source.strip(), codec.lower(), target)
        for encoding in filter(None, (found.source, found.target)):
            _encoding(encoding)
        if found.codec not in CODECS:
            raise ImageError(f"format {shown(text)} is not supported; use jpeg or png")
        return found

    @property
    def mosaic(self) -> str:
        """Encoding of the Bayer mosaic that the codec took for a grey picture, or ""."""
        inside = self.target or self.source
        return inside if inside.startswith("bayer_") else ""

    @property
    def red_first(self) -> bool:
        """The codec was handed red first. It expects blue first, as OpenCV has it, and so red and
        blue stand in each other's place within the file."""
        return self.target.startswith("rgb")


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
        PackedFormat.parse(self.format)

    def rgb(self) -> NDArray[np.uint8]:
        self.check()
        told = PackedFormat.parse(self.format)
        data = np.frombuffer(self.data, np.uint8)
        header = read_header(data.data, ImageError)
        check_size(header.width, header.height)
        if header.depth > 8:
            raise ImageError(f"a {header.kind} of {header.depth} bits per channel is not "
                             "supported; use 8 bits")
        try:
            pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
        if pixels is None or pixels.dtype != np.uint8:
            raise ImageError(f"cannot be decoded: cut off or damaged {header.kind} data")
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if channels not in _UNPACKED:
            raise ImageError("cannot be decoded: the data hold no colour or grey image")
        encoding = _UNPACKED[channels]
        if told.mosaic and encoding != "mono8":
            raise ImageError(f"format {shown(self.format)} tells a mosaic, but the data are "
                             "colours")
        rgb = _converted(pixels.astype(np.uint8, copy=False),
                         ENCODINGS[told.mosaic or encoding])
        return np.ascontiguousarray(rgb[..., ::-1]) if told.red_first else rgb


def repeats(picture: Picture, before: Picture | None) -> bool:
    """Whether its bytes are those of the picture before; both have been decoded."""
    if before is None or len(picture.data) != len(before.data):
        return False
    ours, theirs = (np.frombuffer(each.data, np.uint8) for each in (picture, before))
    return np.array_equal(ours, theirs)


def check_size(width: int, height: int) -> None:
    """Raises ImageError where a side is zero or longer than any camera's."""
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise ImageError(f"size {width}x{height}: each side must lie in 1 .. {LONGEST_SIDE}")


def _encoding(name: str) -> Encoding:
    if name not in ENCODINGS:
        raise ImageError(
            f"encoding {shown(name)} is not supported; use one of {', '.join(ENCODINGS)}"
        )
    return ENCODINGS[name]


def _converted(pixels: NDArray[np.uint8], encoding: Encoding) -> NDArray[np.uint8]:
    """(rows, w, channels) of an encoding to RGB, in memory of its own."""
    if encoding.to_rgb is None:
        return np.array(pixels, np.uint8, order="C")
    try:
        rgb = cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb)
    except cv2.error as error:  # a mosaic needs a few pixels to look around
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ImageError(f"{size} pixels are too few to be converted to RGB") from error
    return np.require(rgb, np.uint8, ["C", "W"])
