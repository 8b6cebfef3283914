# SPDX-License-Identifier: Apache-2.0
"""Which visual tokens to recompute: signals, schedules, and one file per selector."""

from __future__ import annotations

from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection import plugins
from vla_infoentropy_ros.selection.attention_drift import AttentionDrift
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, Selector
from vla_infoentropy_ros.selection.controls import Random, Stale
from vla_infoentropy_ros.selection.dense import Dense
from vla_infoentropy_ros.selection.info_entropy import InfoEntropy
from vla_infoentropy_ros.selection.refresh import WithRefresh
from vla_infoentropy_ros.selection.schedule import SCHEDULES, check_schedule
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.vla_cache import VlaCache
from vla_infoentropy_ros.selection.vla_pruner import FastV, VlaPruner

_BUILDERS: dict[str, plugins.Builder] = {
    "dense": lambda settings, schedule: Dense(),
    "info_entropy": InfoEntropy,
    "attention_drift": AttentionDrift,
    "vla_cache": lambda settings, schedule: VlaCache(settings),
    "vla_pruner": lambda settings, schedule: VlaPruner(settings),
    "fastv": lambda settings, schedule: FastV(settings),
    "random": lambda settings, schedule: Random(settings),
    "stale": lambda settings, schedule: Stale(),
}
SELECTORS = tuple(_BUILDERS)
"""Those of this package."""


def selector_names() -> tuple[str, ...]:
    """Those, and what plug-ins add."""
    return tuple(dict.fromkeys((*SELECTORS, *plugins.installed())))


def check_selector(name: str) -> None:
    """Raise SettingError, listing the known names, for any other; nothing is imported."""
    if name not in (known := selector_names()):
        told = f"selector={name!r} is not among {', '.join(known)}"
        raise SettingError("; ".join(filter(None, (told, did_you_mean(name, known)))))


def load_plugins() -> list[str]:
    """Import all plug-ins now, so that none is later; what is wrong with them, a sentence each."""
    return plugins.load_plugins(_BUILDERS)


def build_selector(
    name: str, schedule: str = "linear", settings: SelectionSettings | None = None
) -> Selector:
    """A selector by name, this package's or a plug-in's. Raises SettingError, listing the known
    names, for any other, for a plug-in that cannot be used, and for an unknown schedule, whether or
    not the selector has one."""
    check_selector(name)
    check_schedule(schedule)
    settings = settings or SelectionSettings()
    build = plugins.builder(name, _BUILDERS) or _BUILDERS[name]
    selector = build(settings, schedule)
    return WithRefresh(selector, settings) if selector.reuses and settings.refreshes else selector


__all__ = [
    "SCHEDULES",
    "SELECTORS",
    "Selection",
    "SelectionInput",
    "SelectionSettings",
    "Selector",
    "build_selector",
    "check_selector",
    "load_plugins",
    "selector_names",
]
