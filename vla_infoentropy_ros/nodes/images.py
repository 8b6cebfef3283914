# SPDX-License-Identifier: Apache-2.0
"""Image messages to RGB arrays; anything that is not what it says it is gets refused."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.standalone import ensure_cv_bridge

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
LONGEST_SIDE = 8192


class ImageError(UserError, ValueError):
    """An image message that cannot be used; the message says what is wrong with it."""


def check_raw(message: Any) -> None:
    """Raise ImageError unless sizes, step, encoding and data of a sensor_msgs/Image agree."""
    if message.encoding not in CHANNELS:
        name = message.encoding[:32]
        raise ImageError(f"encoding {name!r} is not supported; use one of {', '.join(CHANNELS)}")
    width, height, step = message.width, message.height, message.step
    _check_size(width, height)
    row = width * CHANNELS[message.encoding]
    if step < row:
        raise ImageError(f"step {step} is below width x channels = {row} bytes")
    if len(message.data) != step * height:
        raise ImageError(f"{len(message.data)} bytes of data, but step x height = {step * height}")


def check_compressed(message: Any) -> None:
    """Raise ImageError for a sensor_msgs/CompressedImage that cannot hold an image."""
    if not len(message.data):
        raise ImageError("no data in the compressed image")
    if not any(name in message.format.lower() for name in ("jpeg", "jpg", "png")):
        raise ImageError(f"format {message.format[:32]!r} is not supported; use jpeg or png")
    try:
        # Reads the header only: a picture of 5 MB may unpack to gigabytes.
        size = PIL.Image.open(BytesIO(message.data), formats=("JPEG", "PNG")).size
    except PIL.UnidentifiedImageError as error:
        raise ImageError("cannot be decoded: the data are neither jpeg nor png") from error
    except Exception as error:  # Pillow raises many kinds
        raise ImageError(f"cannot be decoded: {error}") from error
    _check_size(*size)


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise ImageError(f"size {width}x{height}: each side must lie in 1 .. {LONGEST_SIDE}")


class ImageDecoder:
    """cv_bridge, behind one function per message type."""

    def __init__(self) -> None:
        self._bridge: Any = ensure_cv_bridge().CvBridge()

    def raw(self, message: Any) -> NDArray[np.uint8]:
        """A checked sensor_msgs/Image to (h, w, 3) uint8 RGB."""
        return self._decoded(self._bridge.imgmsg_to_cv2, message)

    def compressed(self, message: Any) -> NDArray[np.uint8]:
        """A checked sensor_msgs/CompressedImage to (h, w, 3) uint8 RGB."""
        return self._decoded(self._bridge.compressed_imgmsg_to_cv2, message)

    @staticmethod
    def _decoded(decode: Any, message: Any) -> NDArray[np.uint8]:
        try:
            image = decode(message, desired_encoding="rgb8")
        except Exception as error:  # cv_bridge and OpenCV raise many kinds
            raise ImageError(f"cannot be decoded: {error}") from error
        if image is None or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ImageError("cannot be decoded: the data hold no colour or grey image")
        if image.dtype != np.uint8:
            raise ImageError(f"decoded to {image.dtype}; use an image of 8 bits per channel")
        return np.require(image, requirements=["C", "W"])
