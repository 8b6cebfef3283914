# SPDX-License-Identifier: Apache-2.0
"""Images between messages and arrays."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from vla_infoentropy_ros.standalone import ensure_cv_bridge

cv_bridge = ensure_cv_bridge()
BRIDGE = cv_bridge.CvBridge()
RANDOM = np.random.default_rng(0)


def pixels(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return RANDOM.random(shape).astype(dtype)
    return RANDOM.integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize(
    ("encoding", "shape", "dtype"),
    [
        ("rgb8", (4, 6, 3), np.uint8),
        ("bgr8", (4, 6, 3), np.uint8),
        ("rgba8", (4, 6, 4), np.uint8),
        ("bgra8", (4, 6, 4), np.uint8),
        ("mono8", (4, 6), np.uint8),
        ("mono16", (4, 6), np.uint16),
        ("16UC1", (4, 6), np.uint16),
        ("32FC1", (4, 6), np.float32),
    ],
)
def test_round_trip(encoding: str, shape: tuple[int, ...], dtype: Any) -> None:
    image = pixels(*shape, dtype=dtype)
    message = BRIDGE.cv2_to_imgmsg(image, encoding)
    assert (message.encoding, message.height, message.width) == (encoding, 4, 6)
    assert message.step == image.nbytes // 4
    assert isinstance(message.data, array.array)
    back = BRIDGE.imgmsg_to_cv2(message, "passthrough")
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


def test_colours() -> None:
    image = pixels(4, 6, 3)
    message = BRIDGE.cv2_to_imgmsg(image, "bgr8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "rgb8"), image[..., ::-1])
    assert BRIDGE.imgmsg_to_cv2(message, "mono8").shape == (4, 6)
    rgba = BRIDGE.imgmsg_to_cv2(message, "rgba8")
    np.testing.assert_array_equal(rgba[..., :3], image[..., ::-1])
    assert (rgba[..., 3] == 255).all()


def test_padded_rows() -> None:
    image = pixels(4, 6, 3)
    rows = np.zeros((4, 24), np.uint8)
    rows[:, :18] = image.reshape(4, 18)
    message = Image(height=4, width=6, step=24, encoding="rgb8")
    message.data = array.array("B", rows.tobytes())
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "rgb8"), image)


def test_compressed() -> None:
    image = np.full((16, 16, 3), (10, 200, 60), np.uint8)
    exact = BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(image, "png"), "bgr8")
    np.testing.assert_array_equal(exact, image)
    lossy = BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(image), "bgr8")
    assert np.abs(lossy.astype(int) - image).max() < 12


def test_what_cannot_be_converted() -> None:
    depth = BRIDGE.cv2_to_imgmsg(pixels(4, 6, dtype=np.float32), "32FC1")
    with pytest.raises(cv_bridge.CvBridgeError):
        BRIDGE.imgmsg_to_cv2(depth, "rgb8")
    with pytest.raises(cv_bridge.CvBridgeError):
        BRIDGE.cv2_to_imgmsg(pixels(4, 6), "rgb8")
    with pytest.raises(TypeError):
        BRIDGE.cv2_to_imgmsg([[1, 2]], "mono8")
