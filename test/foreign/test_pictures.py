# SPDX-License-Identifier: Apache-2.0
"""The cost of a picture is known from its headers, quickly, and bombs are refused by it."""

from __future__ import annotations

import random
import struct
import time
import zlib
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
import pytest

from vla_infoentropy_ros.foreign.pictures import PNG_MAGIC, read_header

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


class _Refused(ValueError):
    """The caller's own error."""


def chunk(name: bytes, content: bytes = b"") -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + crc


def png(width: int, height: int, depth: int = 8, colour: int = 2, between: bytes = b"") -> bytes:
    size = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return PNG_MAGIC + chunk(b"IHDR", size) + between + chunk(b"IDAT", packed) + chunk(b"IEND")


def jpeg(picture: np.ndarray = NOISE, **options: object) -> bytes:
    sink = BytesIO()
    PIL.Image.fromarray(picture).save(sink, "JPEG", **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "kind", "channels", "scans"),
    [
        (cv2.imencode(".png", NOISE)[1].tobytes(), "png", 3, 1),
        (cv2.imencode(".png", NOISE[..., 0])[1].tobytes(), "png", 1, 1),
        (cv2.imencode(".jpg", NOISE)[1].tobytes(), "jpeg", 3, 1),
        (jpeg(NOISE[..., 0]), "jpeg", 1, 1),
        (jpeg(progressive=True), "jpeg", 3, 10),
        (jpeg(comment=b"\xff\xc2\x00\x11\x08\xff\xff\xff\xff\x03" * 100), "jpeg", 3, 1),
        (jpeg(exif=b"Exif\0\0" + jpeg(NOISE[:8, :8])), "jpeg", 3, 1),  # a thumbnail has a frame
        (jpeg(restart_marker_blocks=1), "jpeg", 3, 1),
    ],
)
def test_headers_of_honest_pictures(data: bytes, kind: str, channels: int, scans: int) -> None:
    for form in (data, bytearray(data), memoryview(data)):
        header = read_header(form)
        assert (header.kind, header.width, header.height) == (kind, 64, 48)
        assert (header.channels, header.depth, header.scans) == (channels, 8, scans)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (png(20_000, 20_000), "1,200,000,000 bytes, at most 100,000,000 are taken of a picture"),
        (png(4000, 4000, depth=16, colour=6), "128,000,000 bytes, at most 100,000,000"),
        (png(0, 10), "it has no pixels"),
        (png(8, 8, colour=5), "colour type 5 with 8 bits, which is none"),
        (png(8, 8, between=chunk(b"teSt") * 1_000_000), "65 parts, at most 64 are taken of chunks"),
        (jpeg()[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg()[2:], "20,001 parts, at most 20,000"),
        (jpeg(np.zeros((5000, 4000, 3), np.uint8), progressive=True), "in 10 scans: 600,000,000"),
        (b"\xff\xd8" + b"\xff" * 10_000_000, "breaks off before its size"),
        (jpeg()[:100], "breaks off before its size"),
        (png(8, 8)[:20], "breaks off before its size"),
        (jpeg().replace(b"\xff\xc0", b"\xff\xc3"), "a coding that no camera has"),
        (bytes(33 << 20), "34,603,008 bytes, at most 33,554,432"),
        (b"GIF89a" + bytes(100), "neither jpeg nor png"),
        (b"", "neither jpeg nor png"),
    ],
)
def test_what_would_cost_too_much_is_refused_in_no_time(data: bytes, told: str) -> None:
    began_s = time.process_time()
    with pytest.raises(_Refused, match=told):
        read_header(data, _Refused)
    assert time.process_time() - began_s < 0.5


def test_damaged_headers_are_refused_or_read_but_never_raise_otherwise() -> None:
    rng = random.Random(2)
    for whole in (jpeg(), jpeg(progressive=True), png(64, 48)):
        for _ in range(500):
            data = bytearray(whole[: rng.randrange(1, len(whole))])
            for _ in range(rng.randrange(6)):
                data[rng.randrange(len(data))] = rng.choice((0x00, 0xFF, 0xC0, 0xDA, 0x7F))
            try:
                assert read_header(data, _Refused).unpacked_bytes > 0
            except _Refused:
                continue
