# SPDX-License-Identifier: Apache-2.0
"""What a PNG or a JPEG will cost, from its headers: bounded work, whatever the file holds.

A library decides on size, depth and number of passes by what the file says of itself; 500 kB can
ask for 4 GB or for minutes. Formats: PNG (ISO/IEC 15948), JPEG (ITU-T T.81).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.budgets import BudgetError, limit, within

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8"
SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
"""Of file names, small or capital letters: the codec."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette unpacks to three
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what decoders of cameras know
_NO_FRAMES = {0xC4, 0xC8, 0xCC}  # of C0 .. CF, those that begin no frame


@dataclass(frozen=True)
class PictureHeader:
    """kind: png or jpeg. depth: bits per channel. scans: passes over the picture. parts: chunks
    or segments."""

    kind: str
    width: int
    height: int
    channels: int
    depth: int
    scans: int = 1
    parts: int = 1

    @property
    def unpacked_bytes(self) -> int:
        return self.width * self.height * self.channels * (1 if self.depth <= 8 else 2)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name, numbers within names in the order of counting: 9 before
    10. What cannot be read is among them, so that whoever reads it says so."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.is_dir()]
    return sorted(found, key=lambda p: [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", p.name)
    ])


def read_header(
    data: bytes | bytearray | memoryview, error: type[Exception] = BudgetError
) -> PictureHeader:
    """The header of a compressed picture that is fit to be decoded; raises ``error`` for one that
    is none, is damaged in what is looked at, or exceeds a budget of pictures."""
    within("picture_packed_bytes", len(data), "compressed picture", error)
    view = memoryview(data).cast("B")
    if bytes(view[:8]) == PNG_MAGIC:
        header = _png(view, error)
    elif bytes(view[:2]) == JPEG_MAGIC:
        header = _jpeg(view, error)
    else:
        raise error("the data are neither jpeg nor png")
    size = f"picture of {header.width}x{header.height}, {header.channels} channels of " \
           f"{header.depth} bits"
    if not (header.width and header.height):
        raise error(f"{size}: it has no pixels")
    within("picture_bytes", header.unpacked_bytes, size, error)
    within("picture_work_bytes", header.unpacked_bytes * header.scans,
           f"{size} in {header.scans} scans", error)
    return header


def _png(view: memoryview, error: type[Exception]) -> PictureHeader:
    if len(view) < 33 or bytes(view[12:16]) != b"IHDR":
        raise error("the PNG breaks off before its size")
    width, height, depth, colour = struct.unpack(">IIBB", view[16:26])
    if colour not in _PNG_CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise error(f"the PNG has colour type {colour} with {depth} bits, which is none")
    parts, notes, at = 0, 0, 8
    most_parts, most_notes = limit("picture_parts"), limit("picture_notes")
    while at + 12 <= len(view):
        length, name = struct.unpack(">I4s", view[at : at + 8])
        parts, notes = parts + 1, notes + (name != b"IDAT")
        if name == b"IEND" or parts > most_parts or notes > most_notes:
            break
        at += 12 + length
    within("picture_parts", parts, "PNG", error)
    within("picture_notes", notes, "PNG", error)
    return PictureHeader("png", width, height, _PNG_CHANNELS[colour], depth, parts=parts)


def _jpeg(view: memoryview, error: type[Exception]) -> PictureHeader:
    most, places = limit("picture_parts"), _markers(view)
    size: tuple[int, int, int, int] | None = None
    parts, scans, at, end = 0, 0, 2, len(view)
    while parts <= most:
        # As decoders do: whatever stands before the next marker is passed over.
        index = int(np.searchsorted(places, at))
        if index == len(places) or (at := int(places[index])) + 4 > end:
            break
        code, parts = view[at + 1], parts + 1
        if code == 0xD9:
            break
        if code in (0x01, 0xD8):  # those without a length
            at += 2
            continue
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAMES:
            if size is not None or code not in _FRAMES or at + 10 > end:
                raise error("the JPEG has a size more than once, or a coding that no camera has")
            size = struct.unpack(">BHHB", view[at + 4 : at + 10])
        scans += code == 0xDA
        at += 2 + int.from_bytes(view[at + 2 : at + 4], "big")
    within("picture_parts", parts, "JPEG", error)
    if size is None:
        raise error("the JPEG breaks off before its size")
    depth, height, width, channels = size
    return PictureHeader("jpeg", width, height, channels, depth, max(1, scans), parts)


def _markers(view: memoryview) -> NDArray[np.intp]:
    """Places of all pairs of bytes that may be a marker: no stuffing, filling or restart."""
    codes = np.frombuffer(view, dtype=np.uint8)
    following = codes[1:]
    found = (codes[:-1] == 0xFF) & (following != 0x00) & (following != 0xFF)
    found &= (following < 0xD0) | (following > 0xD7)
    return np.flatnonzero(found)
