# SPDX-License-Identifier: Apache-2.0
"""Which visual tokens to recompute: signals, schedules, and one file per selector."""

from __future__ import annotations

from collections.abc import Callable

from vla_infoentropy_ros.selection.attention_drift import AttentionDrift
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, Selector
from vla_infoentropy_ros.selection.dense import Dense
from vla_infoentropy_ros.selection.info_entropy import InfoEntropy
from vla_infoentropy_ros.selection.schedule import SCHEDULES
from vla_infoentropy_ros.selection.settings import SelectionError, SelectionSettings

_BUILDERS: dict[str, Callable[[SelectionSettings, str], Selector]] = {
    "dense": lambda settings, schedule: Dense(),
    "info_entropy": InfoEntropy,
    "attention_drift": lambda settings, schedule: AttentionDrift(settings),
}
SELECTORS = tuple(_BUILDERS)


def build_selector(
    name: str, schedule: str = "linear", settings: SelectionSettings | None = None
) -> Selector:
    """A selector by name. Raises SelectionError, listing the known names, for any other."""
    if name not in _BUILDERS:
        raise SelectionError(f"selector={name!r} is unknown; choose one of {', '.join(SELECTORS)}")
    return _BUILDERS[name](settings or SelectionSettings(), schedule)


__all__ = [
    "SCHEDULES",
    "SELECTORS",
    "Selection",
    "SelectionError",
    "SelectionInput",
    "SelectionSettings",
    "Selector",
    "build_selector",
]
