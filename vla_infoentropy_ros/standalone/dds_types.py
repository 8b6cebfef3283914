# SPDX-License-Identifier: Apache-2.0
"""Cyclone DDS type descriptions for ROS types.

The binding needs a description of each type to announce a topic. Samples themselves go through as
ready CDR bytes: its own serialiser walks an image pixel by pixel and takes 25-75 ms for 640x480.
"""

from __future__ import annotations

import functools
from typing import Any

from cyclonedds.idl import make_idl_struct, types

from .typestore import ARRAY, EMPTY_MEMBER, SCALAR, FieldType, TypeSpec, registry

# One-byte types are all announced as ``byte``: an announced XTypes uint8 crashes peers that run
# Cyclone DDS 0.10, the version of ROS 2 Humble and Jazzy (eclipse-cyclonedds/cyclonedds#1554).
_PRIMITIVES: dict[str, Any] = {
    "bool": bool,
    "byte": types.byte,
    "char": types.byte,
    "int8": types.byte,
    "uint8": types.byte,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "uint32": types.uint32,
    "int64": types.int64,
    "uint64": types.uint64,
    "float32": types.float32,
    "float64": types.float64,
    "string": str,
}


@functools.cache
def idl_struct(name: str, with_request_id: bool = False) -> Any:
    """Return the description of a type; requests and replies start with a request id."""
    spec = registry().spec(name)
    fields: dict[str, Any] = {}
    if with_request_id:
        fields = {"request_guid_": types.uint64, "request_sequence_": types.int64}
    fields |= {label: _annotation(field) for label, field in spec.fields}
    if not spec.fields:
        fields[EMPTY_MEMBER] = types.byte
    # A trailing underscore keeps Python keywords and dataclass internals out of the way.
    struct = make_idl_struct(
        _python_name(spec), spec.dds_name.replace("::", "."), fields, dataclassify=False
    )
    struct.__idl__.populate()
    struct.__idl__.fill_type_data()
    return struct


def _annotation(field: FieldType) -> Any:
    if field.is_message:
        inner: Any = idl_struct(field.base)
    elif field.string_bound:
        bounded_str: Any = types.bounded_str
        inner = bounded_str[field.string_bound]
    else:
        inner = _PRIMITIVES[field.base]
    if field.kind == SCALAR:
        return inner
    array: Any = types.array
    sequence: Any = types.sequence
    if field.kind == ARRAY:
        return array[inner, field.size]
    return sequence[inner, field.size] if field.size else sequence[inner]


def _python_name(spec: TypeSpec) -> str:
    return spec.dds_name.replace("::", "_")
