# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters of the selection from a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection.settings import SelectionSettings


def read_assignments(texts: Sequence[str]) -> SelectionSettings:
    """``name=value`` texts to settings; each value takes the type of the default. Raises
    SettingError."""
    kinds: dict[str, Any] = {knob.name: type(knob.default) for knob in fields(SelectionSettings)}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set {text!r}: write it as name=value")
        kind = kinds.get(name, str)
        try:
            values[name] = _read(value, kind)
        except ValueError:
            raise SettingError(f"--set {text}: {value!r} is no {kind.__name__}") from None
    return SelectionSettings.from_mapping(values)


def _read(text: str, kind: Any) -> Any:
    if kind is bool:
        return text.lower() == "true"
    if kind is tuple:
        return tuple(int(number) for number in text.split(","))
    return kind(text)
