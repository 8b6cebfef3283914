# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS images and NumPy arrays, with the interface of cv_bridge.

Pure Python over NumPy and OpenCV, so it runs with any NumPy version.
"""

from __future__ import annotations

import array
from typing import Any, Literal

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

__all__ = ["CvBridge", "CvBridgeError", "cvtColor2", "cvtColorForDisplay"]

# encoding: (NumPy type, channels)
_NAMED: dict[str, tuple[str, int]] = {
    "rgb8": ("uint8", 3),
    "bgr8": ("uint8", 3),
    "rgba8": ("uint8", 4),
    "bgra8": ("uint8", 4),
    "mono8": ("uint8", 1),
    "rgb16": ("uint16", 3),
    "bgr16": ("uint16", 3),
    "rgba16": ("uint16", 4),
    "bgra16": ("uint16", 4),
    "mono16": ("uint16", 1),
    "bayer_rggb8": ("uint8", 1),
    "bayer_bggr8": ("uint8", 1),
    "bayer_gbrg8": ("uint8", 1),
    "bayer_grbg8": ("uint8", 1),
}
_DEPTHS = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
# OpenCV names its Bayer patterns by the second row and column, ROS by the first.
_BAYER = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}
_COLORS = ("rgb", "bgr", "rgba", "bgra", "mono")


class CvBridgeError(TypeError):
    """An image cannot be converted."""


class CvBridge:
    """Converts images both ways."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Return NumPy type and number of channels of an encoding such as rgb8 or 32FC1."""
        if encoding in _NAMED:
            return _NAMED[encoding]
        depth, separator, channels = encoding.partition("C")
        if depth in _DEPTHS and (not separator or channels.isdigit()):
            return _DEPTHS[depth], int(channels or 1)
        raise CvBridgeError(
            f"Encoding {encoding!r} is not supported. Use one of {', '.join(_NAMED)}, "
            "or a type such as 8UC3, 16UC1 or 32FC1."
        )

    def dtype_with_channels_to_cvtype2(self, dtype: Any, n_channels: int) -> str:
        """Return the encoding that has only type and channels, such as 8UC3."""
        names = {value: key for key, value in _DEPTHS.items()}
        name = np.dtype(dtype).name
        if name not in names:
            raise CvBridgeError(f"Arrays of {name} cannot be images. Use one of {', '.join(names)}")
        return f"{names[name]}C{n_channels}"

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> Any:
        """Return the pixels of an Image as (rows, cols[, channels]), converted if asked for."""
        dtype, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        kind = np.dtype(dtype)
        row = img_msg.width * channels * kind.itemsize
        if img_msg.step < row or len(img_msg.data) < img_msg.step * img_msg.height:
            raise CvBridgeError(
                f"Image of {img_msg.width}x{img_msg.height} {img_msg.encoding} needs a step of at "
                f"least {row} and step * height bytes; it has step {img_msg.step} and "
                f"{len(img_msg.data)} bytes."
            )
        data = np.frombuffer(img_msg.data, np.uint8, img_msg.step * img_msg.height)
        rows = data.reshape(img_msg.height, img_msg.step)[:, :row]
        pixels = np.ascontiguousarray(rows).view(kind.newbyteorder(_order(img_msg.is_bigendian)))
        shape = (img_msg.height, img_msg.width) + ((channels,) if channels > 1 else ())
        pixels = pixels.reshape(shape).astype(kind, copy=False)
        if desired_encoding in ("passthrough", img_msg.encoding):
            # A message may be shared between callbacks: never hand out its memory for writing.
            return pixels if pixels.flags.owndata else pixels.copy()
        return cvtColor2(pixels, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: Any, encoding: str = "passthrough", header: Any = None) -> Any:
        """Return an Image with the pixels of an array."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        if cvim.ndim not in (2, 3):
            raise CvBridgeError(f"An image has 2 or 3 dimensions, not {cvim.ndim}.")
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        plain = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        if encoding == "passthrough":
            encoding = plain
        elif self.encoding_to_dtype_with_channels(encoding) != (cvim.dtype.name, channels):
            raise CvBridgeError(f"encoding specified as {encoding}, but image has type {plain}")
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        if header is not None:
            message.header = header
        message.is_bigendian = int(cvim.dtype.byteorder == ">")
        data = array.array("B")
        data.frombytes(np.ascontiguousarray(cvim).view(np.uint8).reshape(-1).data)
        message.data = data
        message.step = len(data) // max(1, cvim.shape[0])
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: Any, desired_encoding: str = "passthrough"
    ) -> Any:
        """Return the pixels of a CompressedImage; colours come as bgr8 unless asked otherwise."""
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if pixels is None:
            raise CvBridgeError(
                f"{data.size} bytes of format {cmprs_img_msg.format!r} are not an image that "
                "OpenCV can decode."
            )
        if desired_encoding == "passthrough":
            return pixels
        suffix = "16" if pixels.dtype == np.uint16 else "8"
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        names = {1: "mono", 3: "bgr", 4: "bgra"}
        return cvtColor2(pixels, names[channels] + suffix, desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: Any, dst_format: str = "jpg") -> Any:
        """Return a CompressedImage with the pixels of a bgr8 or mono8 array."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        known, encoded = False, None
        try:
            known, encoded = cv2.imencode("." + dst_format, cvim)
        except cv2.error as error:
            raise CvBridgeError(f"Cannot encode as {dst_format!r}: {error}") from error
        if not known or encoded is None:
            raise CvBridgeError(f"Cannot encode as {dst_format!r}.")
        data = array.array("B")
        data.frombytes(encoded.tobytes())
        return CompressedImage(format=dst_format, data=data)


def _order(is_bigendian: int) -> Literal[">", "<"]:
    return ">" if is_bigendian else "<"


def _split(encoding: str) -> tuple[str, int]:
    """Return colour order and bits, such as ("rgb", 8)."""
    if encoding in _NAMED:
        name = encoding.rstrip("0123456789")
        return name, int(encoding[len(name) :])
    return "", 0


def cvtColor2(img: Any, encoding_in: str, encoding_out: str) -> Any:
    """Convert pixels between encodings."""
    if encoding_in == encoding_out:
        return img
    (source, bits_in), (target, bits_out) = _split(encoding_in), _split(encoding_out)
    if not source or target not in _COLORS:
        # Without colour information only the name can change.
        layout = CvBridge().encoding_to_dtype_with_channels
        if target not in _COLORS and layout(encoding_out) == layout(encoding_in):
            return img
        raise CvBridgeError(
            f"Cannot convert {encoding_in} to {encoding_out}: only color formats such as rgb8 and "
            "mono8 can be converted into each other."
        )
    pixels = img
    if source.startswith("bayer_"):
        pattern = _BAYER[source.removeprefix("bayer_")]
        pixels = cv2.cvtColor(pixels, getattr(cv2, f"COLOR_BAYER_{pattern}2BGR"))
        source = "bgr"
    if source != target:
        names = {"mono": "GRAY"}
        code = f"COLOR_{names.get(source, source.upper())}2{names.get(target, target.upper())}"
        pixels = cv2.cvtColor(pixels, getattr(cv2, code))
    if bits_in == 16 and bits_out == 8:
        return np.clip(np.rint(pixels / 257.0), 0, 255).astype(np.uint8)
    if bits_in == 8 and bits_out == 16:
        return pixels.astype(np.uint16) * 257
    return pixels


def cvtColorForDisplay(img: Any, encoding_in: str, encoding_out: str = "") -> Any:
    """Convert pixels to something that can be shown: bgr8, with floats scaled to 0..255."""
    if encoding_in.startswith(("32F", "64F", "16S", "32S")):
        values = np.nan_to_num(np.asarray(img, dtype=np.float64))
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
        img, encoding_in = scaled.astype(np.uint8), "mono8"
    return cvtColor2(img, encoding_in, encoding_out or "bgr8")
