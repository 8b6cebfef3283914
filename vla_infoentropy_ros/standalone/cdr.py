# SPDX-License-Identifier: Apache-2.0
"""CDR (XCDR1, little endian) for the message classes of :mod:`.messages`.

Writers append to a ``bytearray``, readers walk a ``memoryview``. Alignment counts from behind the
4-byte encapsulation header. Numeric sequences are ``array.array`` and are copied as one block: a
640x480 image costs two copies of its data and nothing per pixel.
"""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .typestore import ARRAY, SCALAR, FieldType

HEADER = b"\x00\x01\x00\x00"

Write = Callable[[bytearray, Any], None]
Read = Callable[[memoryview, int], "tuple[Any, int]"]

# ROS name: (struct format, array.array type code or None where ROS uses a plain list)
PRIMITIVES: dict[str, tuple[str, str | None]] = {
    "bool": ("?", None),
    "byte": ("c", None),
    "char": ("B", "B"),
    "int8": ("b", "b"),
    "uint8": ("B", "B"),
    "int16": ("h", "h"),
    "uint16": ("H", "H"),
    "int32": ("i", "i"),
    "uint32": ("I", "I"),
    "int64": ("q", "q"),
    "uint64": ("Q", "Q"),
    "float32": ("f", "f"),
    "float64": ("d", "d"),
}

_ZEROS = bytes(8)
_U32 = struct.Struct("<I")

if sys.byteorder != "little":  # pragma: no cover - ROS 2 runs on little-endian machines only
    raise ImportError("The standalone transport supports little-endian machines only.")


class CdrError(ValueError):
    """Bytes that are not a message of the expected type."""


def pad(buffer: bytearray, alignment: int) -> None:
    """Append zeros until the next value sits on ``alignment``."""
    excess = (len(buffer) - 4) & (alignment - 1)
    if excess:
        buffer += _ZEROS[: alignment - excess]


def aligned(position: int, alignment: int) -> int:
    """Return ``position`` moved up to ``alignment``."""
    return (position + alignment - 1) & -alignment


def _primitive(fmt: str) -> tuple[Write, Read]:
    packer = struct.Struct("<" + fmt)
    size = packer.size

    def write(buffer: bytearray, value: Any) -> None:
        pad(buffer, size)
        buffer += packer.pack(value)

    def read(view: memoryview, position: int) -> tuple[Any, int]:
        position = aligned(position, size)
        return packer.unpack_from(view, position)[0], position + size

    return write, read


def _write_string(buffer: bytearray, value: str) -> None:
    data = value.encode()
    pad(buffer, 4)
    buffer += _U32.pack(len(data) + 1)
    buffer += data
    buffer.append(0)


def _read_string(view: memoryview, position: int) -> tuple[str, int]:
    length, position = _read_length(view, position)
    end = position + length
    if end > len(view):
        raise CdrError(f"A string of {length} bytes runs past the end of the message.")
    return str(view[position : max(end - 1, position)], "utf-8"), end


def _read_length(view: memoryview, position: int) -> tuple[int, int]:
    position = aligned(position, 4)
    return _U32.unpack_from(view, position)[0], position + 4


def _element(base: str) -> tuple[Write, Read]:
    if base == "string":
        return _write_string, _read_string
    if "/" in base:
        # Resolved on first use, so that types may be defined in any order.
        from .messages import message_class

        def write(buffer: bytearray, value: Any) -> None:
            message_class(base)._write(buffer, value)

        def read(view: memoryview, position: int) -> tuple[Any, int]:
            result: tuple[Any, int] = message_class(base)._read(view, position)
            return result

        return write, read
    if base not in PRIMITIVES:
        raise CdrError(f"Field type {base!r} is not supported by the standalone transport.")
    return _primitive(PRIMITIVES[base][0])


def _block(code: str, fixed: int, numpy_array: bool) -> tuple[Write, Read]:
    """Numeric array (``fixed`` elements) or sequence (``fixed`` is 0), copied as one block."""
    size = struct.calcsize("<" + code)

    def write(buffer: bytearray, value: Any) -> None:
        if not numpy_array:
            pad(buffer, 4)
            buffer += _U32.pack(len(value))
        if len(value):
            pad(buffer, size)
            block: Any = np.ascontiguousarray(value) if numpy_array else value
            buffer += memoryview(block).cast("B")

    def read(view: memoryview, position: int) -> tuple[Any, int]:
        count = fixed
        if not numpy_array:
            count, position = _read_length(view, position)
        if count:
            position = aligned(position, size)
        end = position + count * size
        if end > len(view):
            raise CdrError(f"{count} elements of {size} bytes run past the end of the message.")
        if numpy_array:
            return np.frombuffer(view[position:end], dtype=code).copy(), end
        values = array.array(code)
        values.frombytes(view[position:end])
        return values, end

    return write, read


def _listed(field: FieldType) -> tuple[Write, Read]:
    """Array or sequence of strings, booleans, bytes or messages: a list."""
    write_one, read_one = _element(field.base)
    fixed = field.size if field.kind == ARRAY else None

    def write(buffer: bytearray, value: Any) -> None:
        if fixed is None:
            pad(buffer, 4)
            buffer += _U32.pack(len(value))
        for item in value:
            write_one(buffer, item)

    def read(view: memoryview, position: int) -> tuple[Any, int]:
        count = fixed
        if count is None:
            count, position = _read_length(view, position)
        if count > len(view) - position:
            raise CdrError(f"{count} elements run past the end of the message.")
        values = []
        for _ in range(count):
            value, position = read_one(view, position)
            values.append(value)
        return values, position

    return write, read


def field_codec(field: FieldType) -> tuple[Write, Read]:
    """Return the writer and the reader of one field."""
    if field.kind == SCALAR:
        return _element(field.base)
    code = PRIMITIVES.get(field.base, ("", None))[1]
    if code is not None:
        return _block(code, field.size if field.kind == ARRAY else 0, field.kind == ARRAY)
    return _listed(field)


def struct_codec(
    fields: list[tuple[str, FieldType]], make: Callable[[], Any]
) -> tuple[Write, Read]:
    """Return the codec of a message whose values live in ``_<name>`` slots.

    Reading fills the slots directly: what came off the wire needs no type checks.
    """
    codecs = [("_" + name, *field_codec(kind)) for name, kind in fields]

    def write(buffer: bytearray, message: Any) -> None:
        if not codecs:
            buffer.append(0)  # ROS gives an empty message one unused byte
        for slot, write_field, _ in codecs:
            write_field(buffer, getattr(message, slot))

    def read(view: memoryview, position: int) -> tuple[Any, int]:
        message = make()
        if not codecs:
            position += 1
        for slot, _, read_field in codecs:
            value, position = read_field(view, position)
            setattr(message, slot, value)
        return message, position

    return write, read
