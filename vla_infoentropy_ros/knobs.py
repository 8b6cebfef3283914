# SPDX-License-Identifier: Apache-2.0
"""Declared settings: one field declaration gives validation, ROS parameter and documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields
from numbers import Integral, Real
from typing import Any

from vla_infoentropy_ros.foreign.text import UserError, shown

_KINDS: Mapping[type, tuple[type, str]] = {
    bool: (bool, "true or false"), str: (str, "a text"), int: (Integral, "a whole number"),
    float: (Real, "a number"),
}  # fmt: skip


class SettingError(UserError, ValueError):
    """A setting is out of range; the message names it, its value and what is allowed."""


def knob(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    length: int | None = None,
) -> Any:
    """A dataclass field with its documentation, range or choices; ``length`` is for tuples."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "length": length}
    return field(default=default, metadata=metadata)


def check_knobs(settings: Any, prefix: str = "") -> None:
    """Raise SettingError unless every field of the dataclass keeps to its declaration: the type of
    its default, and what `knob` says."""
    for entry in fields(settings):
        name, value = prefix + entry.name, getattr(settings, entry.name)
        if entry.metadata:
            _check_type(name, value, entry.default)
        check_knob(name, value, entry.metadata)


def _check_type(name: str, value: Any, default: Any) -> None:
    """A file may hold anything; a whole number is a number too."""
    many = isinstance(default, tuple)
    kind, wanted = _KINDS[type(default[0] if many else default)]
    parts = value if many and isinstance(value, tuple) else (value,)
    as_listed = many == isinstance(value, tuple)
    if not as_listed or not all(
        isinstance(part, kind) and (kind is bool or not isinstance(part, bool)) for part in parts
    ):
        raise SettingError(f"{name}={shown(value)} must be {'a list, each ' * many}{wanted}")


def check_knob(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Raise SettingError unless ``value``, or each number of a tuple, is allowed by a field's
    metadata."""
    if isinstance(value, tuple):
        _check_length(name, value, metadata.get("length"))
    choices, low, high = (metadata.get(key) for key in ("choices", "low", "high"))
    for each in value if isinstance(value, tuple) else (value,):
        if choices is not None and each not in choices:
            allowed = ", ".join(repr(choice) for choice in choices)
            raise SettingError(f"{name}={value!r} is not among {allowed}")
        if isinstance(each, float) and not math.isfinite(each):
            raise SettingError(f"{name}={value!r} is NaN or infinity; give a finite number")
        if low is not None and high is not None and not low <= each <= high:
            raise SettingError(f"{name}={value!r} is outside [{low}, {high}]")


def _check_length(name: str, value: tuple[float, ...], length: int | None) -> None:
    if length is not None and len(value) != length:
        raise SettingError(f"{name}={list(value)} has {len(value)} numbers; give {length}")
