# SPDX-License-Identifier: Apache-2.0
"""Selectors of other packages: entry points of the group `GROUP`, by name.

An entry point names a function ``(settings: SelectionSettings, schedule: str) -> Selector``. What
is installed is looked up once, when the process first asks, and imported when it is first named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.plugins import imported, made
from vla_infoentropy_ros.selection.base import Selection, Selector
from vla_infoentropy_ros.selection.settings import SelectionSettings

_GIVES = {"needs": AttentionNeeds, "select": Selection}
GROUP = "vla_infoentropy_ros.selectors"
Builder = Callable[[SelectionSettings, str], Selector]


@functools.cache
def installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    """By name; more than one where a name is taken twice."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


@functools.cache
def _loaded(name: str) -> Builder | str:
    """Its builder, or why there is none: it is imported once, whether that succeeds or not."""
    first, *others = installed()[name]
    if others:
        return (
            f"selector={name!r} is the name of {len(others) + 1} plug-ins, of "
            f"{' and of '.join(map(_source, (first, *others)))}: uninstall all but one"
        )
    told = f"selector={name!r}, a plug-in of {_source(first)} ({first.value})"
    try:
        build = imported(first.value, told)
    except SettingError as error:
        return str(error)
    return lambda settings, schedule: made(
        build, told, "settings, schedule", Selector, _GIVES, settings, schedule
    )


def load_plugins(taken: Mapping[str, object]) -> list[str]:
    """Import all that are installed, so that none is imported later; what is wrong, a sentence
    each. taken: names that are not theirs to have."""
    problems = []
    for name in installed():
        try:
            builder(name, taken)
        except SettingError as error:
            problems.append(str(error))
    return problems


def builder(name: str, taken: Mapping[str, object]) -> Builder | None:
    """That of a plug-in; None where there is none of this name. Raises SettingError where it
    cannot be had, or its name is ``taken``."""
    if name not in installed():
        return None
    if name in taken:
        raise SettingError(
            f"selector={name!r} is one of this package's own, and a plug-in of "
            f"{_source(installed()[name][0])} has taken the name: uninstall that, or rename its "
            "entry point"
        )
    found = _loaded(name)
    if isinstance(found, str):
        raise SettingError(found)
    return found


def forget() -> None:
    """Look again at what is installed."""
    installed.cache_clear()
    _loaded.cache_clear()


def _source(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown package"
