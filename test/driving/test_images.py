# SPDX-License-Identifier: Apache-2.0
"""One rule for encodings, raw and compressed: the right colours, or a reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vla_infoentropy_ros.driving.images import (
    ENCODINGS,
    ImageError,
    PackedFormat,
    PackedPicture,
    RawPicture,
)

CASES = Path(__file__).parents[1] / "data" / "cases"
SIZE = (48, 64)  # rows, columns


def scene() -> NDArray[np.uint8]:
    """A red, a green and a blue square on grey, (48, 64, 3) RGB."""
    rgb = np.full((*SIZE, 3), 90, np.uint8)
    for place, colour in enumerate(((220, 30, 30), (30, 200, 40), (40, 60, 230))):
        rgb[16:32, 4 + 20 * place : 20 + 20 * place] = colour
    return rgb


def mosaic(rgb: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    """What a sensor with these colours in the corner of each square of four sees, (h, w)."""
    seen = np.zeros(rgb.shape[:2], np.uint8)
    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        channel = "rgb".index(colour)
        seen[row::2, column::2] = rgb[row::2, column::2, channel]
    return seen


def encoded(encoding: str) -> NDArray[np.uint8]:
    """The scene as rows of data of an encoding, (rows, step)."""
    rgb = scene()
    if encoding.startswith("bayer_"):
        return mosaic(rgb, encoding[6:10])
    if encoding in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8"):
        code = {"bgr8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGB2RGBA,
                "bgra8": cv2.COLOR_RGB2BGRA, "mono8": cv2.COLOR_RGB2GRAY}.get(encoding)
        return (rgb if code is None else cv2.cvtColor(rgb, code)).reshape(SIZE[0], -1)
    brightness, *chroma = cv2.split(limited_yuv(rgb))
    if encoding in ("nv12", "nv21"):
        u, v = (plane[::2, ::2] for plane in chroma)
        pair = (u, v) if encoding == "nv12" else (v, u)
        return np.concatenate([brightness, np.stack(pair, axis=2).reshape(-1, SIZE[1])])
    u, v = (plane[:, ::2] for plane in chroma)
    first, second = brightness[:, ::2], brightness[:, 1::2]
    order = (first, u, second, v) if encoding.startswith("yuy") or "yuy2" in encoding else (
        u, first, v, second)
    return np.stack(order, axis=2).reshape(SIZE[0], -1)


def limited_yuv(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 in video range, as cameras send it; (h, w, 3)."""
    matrix = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0],
                       [112.0, -93.786, -18.214]]) / 255
    yuv = rgb.astype(np.float64) @ matrix.T + np.array([16, 128, 128])
    return np.clip(yuv.round(), 0, 255).astype(np.uint8)


def middles(rgb: NDArray[np.uint8]) -> list[list[int]]:
    """Colours within the three squares and beside them."""
    return [rgb[y, x].astype(int).tolist() for y, x in ((24, 12), (24, 32), (24, 52), (6, 6))]


def raw(encoding: str, padding: int = 0) -> RawPicture:
    rows = np.pad(encoded(encoding), ((0, 0), (0, padding)))
    return RawPicture(encoding, SIZE[1], SIZE[0], rows.shape[1], rows.tobytes())


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_raw_pictures_keep_their_colours(encoding: str, padding: int) -> None:
    rgb = raw(encoding, padding).rgb()
    assert rgb.shape == (*SIZE, 3) and rgb.dtype == np.uint8 and rgb.flags.writeable
    wanted = middles(scene())
    if encoding == "mono8":
        wanted = [[round(float(np.dot(c, (0.299, 0.587, 0.114))))] * 3 for c in wanted]
    np.testing.assert_allclose(middles(rgb), wanted, atol=3)


@pytest.mark.parametrize("codec", ["jpeg", "png"])
@pytest.mark.parametrize(
    ("form", "handed"),
    [
        ("{}", cv2.COLOR_RGB2BGR),
        ("rgb8; {} compressed bgr8", cv2.COLOR_RGB2BGR),
        ("bgr8; {} compressed bgr8", cv2.COLOR_RGB2BGR),
        ("bgr8; {} compressed ", cv2.COLOR_RGB2BGR),
        ("rgb8; {} compressed rgb8", None),  # handed red first to a codec that takes blue first
        ("yuv422; {} compressed bgr8", cv2.COLOR_RGB2BGR),
        ("bayer_rggb8; {} compressed bgr8", cv2.COLOR_RGB2BGR),
    ],
)
def test_packed_pictures_keep_their_colours(codec: str, form: str, handed: int | None) -> None:
    given = scene() if handed is None else cv2.cvtColor(scene(), handed)
    data = cv2.imencode(f".{codec}", given)[1].tobytes()
    rgb = PackedPicture(form.format(codec), data).rgb()
    np.testing.assert_allclose(middles(rgb), middles(scene()), atol=6)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name.startswith("bayer")])
def test_a_mosaic_in_a_codec_is_the_same_picture_as_raw(encoding: str) -> None:
    data = cv2.imencode(".png", encoded(encoding))[1].tobytes()
    packed = PackedPicture(f"{encoding}; png compressed ", data).rgb()
    np.testing.assert_array_equal(packed, raw(encoding).rgb())


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1", "rgb16", "bayer_rggb16", "", "x"])
def test_what_raw_refuses_packed_refuses(encoding: str) -> None:
    told = f"encoding '{encoding}' is not supported; use one of rgb8"
    with pytest.raises(ImageError, match=told):
        RawPicture(encoding, 2, 2, 4, bytes(8)).check()
    if encoding:
        with pytest.raises(ImageError, match=told):
            PackedPicture(f"{encoding}; png compressed ", b"x").check()


def test_sixteen_bits_in_a_png_are_refused() -> None:
    data = cv2.imencode(".png", np.zeros((8, 8), np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match="png of 16 bits per channel is not supported"):
        PackedPicture("png", data).rgb()


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (RawPicture("yuyv", 3, 2, 6, bytes(12)), "width 3 is odd, which yuyv cannot be"),
        (RawPicture("nv12", 4, 3, 4, bytes(18)), "height 3 is odd, which nv12 cannot be"),
        (RawPicture("nv12", 4, 2, 4, bytes(8)), "8 bytes of data, but step x 1.5 height = 12"),
        (RawPicture("bayer_rggb8", 5, 4, 5, bytes(20)), "width 5 is odd"),
        (PackedPicture("tiff", b"x"), "format 'tiff' is not supported; use jpeg or png"),
        (PackedPicture("rgb8; compressedDepth", b"x"), "is not supported; use jpeg or png"),
        (PackedPicture("bayer_rggb8; jpeg compressed ", cv2.imencode(".jpg", scene())[1]),
         "tells a mosaic, but the data are colours"),
    ],
)
def test_what_does_not_fit_together(picture: RawPicture | PackedPicture, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        picture.rgb()


@pytest.mark.parametrize("codec", ["jpeg", "png"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_a_cut_picture_is_refused_whole(codec: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(f".{codec}", noise)[1].tobytes()
    with pytest.raises(ImageError, match="cut off or damaged"):
        PackedPicture(codec, data[: int(len(data) * kept)]).rgb()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("jpeg", ("", "jpeg", "")),
        ("JPEG", ("", "jpeg", "")),
        ("png", ("", "png", "")),
        ("rgb8; jpeg compressed bgr8", ("rgb8", "jpeg", "bgr8")),
        ("bgr8;png", ("bgr8", "png", "")),
        ("mono8; jpeg compressed ", ("mono8", "jpeg", "")),
    ],
)
def test_formats(text: str, wanted: tuple[str, str, str]) -> None:
    found = PackedFormat.parse(text)
    assert (found.source, found.codec, found.target) == wanted
