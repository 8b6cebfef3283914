# SPDX-License-Identifier: Apache-2.0
"""Parameters as the declared settings describe them; no ROS and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.knobs import SettingError

_TRUTH = {"true": True, "1": True, "false": False, "0": False}  # as launch files take it


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter: name as in ROS, default, documentation, range or choices; live: may change
    while a policy is loaded. at_start: is given with the node and never changes."""

    name: str
    default: Any
    doc: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...] | None
    live: bool = True
    at_start: bool = False

    @property
    def allowed(self) -> str:
        """The range or the choices in words; empty: anything of the type."""
        if self.choices is not None:
            return ", ".join(str(choice) or '""' for choice in self.choices)
        return "" if self.low is None else f"{self.low} .. {self.high}"


def group_specs(prefix: str, group: Any) -> list[ParameterSpec]:
    """The parameters that the fields of a dataclass make."""
    specs = []
    for entry in fields(group):
        assert entry.default is not MISSING
        name = prefix + entry.name
        doc, low, high = (entry.metadata.get(key) for key in ("doc", "low", "high"))
        choices = entry.metadata.get("choices")
        specs.append(ParameterSpec(name, entry.default, doc or "", low, high, choices))
    return specs


def unknown_parameter(name: str, known: Sequence[str]) -> str:
    """An error text with the nearest known names."""
    within = [each for each in known if each.endswith(f".{name}")]
    hint = f"did you mean {' or '.join(within)}?" if within else did_you_mean(name, known)
    return f"parameter {name!r} is unknown; {hint or 'see docs/parameters.md'}"


def typed(name: str, text: str, default: Any) -> Any:
    """The value that a text stands for, of the type of ``default``; numbers of a list have commas
    between. Raises SettingError."""
    if isinstance(default, bool):
        if text.lower() not in _TRUTH:
            raise SettingError(f"{name}={text!r} is neither true nor false")
        return _TRUTH[text.lower()]
    if isinstance(default, str):
        return text
    kind, parts = type(default), [text]
    if isinstance(default, tuple):
        kind, parts = type(default[0]), text.split(",")
    try:
        values = tuple(kind(part) for part in parts)
    except ValueError as error:
        raise SettingError(f"{name}={text!r} is no {kind.__name__}") from error
    return values if isinstance(default, tuple) else values[0]
