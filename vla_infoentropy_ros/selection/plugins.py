# SPDX-License-Identifier: Apache-2.0
"""Selectors of other packages: entry points of the group `GROUP`, by name.

An entry point names a function ``(settings: SelectionSettings, schedule: str) -> Selector``. What
is installed is looked up once, when the process first asks, and imported when it is first named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

import torch

from vla_infoentropy_ros.engine.plan import PlanError, TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.plugins import PluginError, contained, imported, made
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, Selector
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
    return lambda settings, schedule: _believed_as_plans(made(
        build, told, "settings, schedule", Selector, _GIVES, settings, schedule
    ), told)


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


def _believed_as_plans(selector: Selector, told: str) -> Selector:
    """``selector``, whose plans are looked through before the engine indexes by them: a mask in the
    place of indices would leave tokens as they are that are told as recomputed. Waits for the
    device once a stage, as no selector of this package does."""
    select = selector.select

    def looked_through(given: SelectionInput) -> Selection:
        selection = select(given)
        if wrong := _misplanned(selection, given, selector.reuses):
            raise PluginError(f"{told}: select gave {wrong}")
        return replace(selection, plan=_contained_choice(selection.plan, told))

    selector.select = looked_through  # type: ignore[method-assign]
    return selector


def _misplanned(selection: Selection, given: SelectionInput, reuses: bool) -> str:
    """What is wrong with a plan and what is told of it, or ""."""
    count, plan = given.embeddings.shape[0], selection.plan
    reasons = selection.reasons
    if tuple(reasons.shape) != (count,) or reasons.dtype != torch.uint8:
        return f"reasons {_form(reasons)}, must be ({count},) uint8"
    for name, signal in selection.signals.items():
        if tuple(signal.shape) != (count,):
            return f"the signal {name} {_form(signal)}, must be ({count},)"
    left = set(range(count))
    for stage in plan.stages:
        if wrong := _no_tokens(stage.fresh, left):
            return f"layer {stage.layer} {wrong}"
        left = set(stage.fresh.tolist())
    if not reuses and plan.stages[0].fresh.shape[0] < count:
        return (f"a plan that keeps {count - plan.stages[0].fresh.shape[0]} tokens of the last "
                "step, though it says reuses = False")
    try:
        plan.rows_per_layer(given.depth)
    except PlanError as error:
        return str(error)
    return ""


def _no_tokens(indices: torch.Tensor, among: set[int]) -> str:
    """Why these are no tokens ``among`` those that are computed up to there, or ""."""
    if indices.dim() != 1 or indices.dtype != torch.int64:
        return f"tokens {_form(indices)}, must be their indices, (n,) int64"
    told = indices.tolist()
    if told != sorted(set(told)):
        return "tokens that are not sorted, or twice the same"
    if beyond := set(told) - among:
        return f"the token {min(beyond)}, which is none or was left out by an earlier layer"
    return ""


def _contained_choice(plan: TokenPlan, told: str) -> TokenPlan:
    """The same plan, whose choice of what is pruned fails by one sentence."""
    if plan.pruning is None:
        return plan
    choose = contained(plan.pruning.choose, f"{told}: choose", torch.Tensor)
    left = set(plan.fresh.tolist())

    def looked_through(attention: torch.Tensor) -> torch.Tensor:
        kept: torch.Tensor = choose(attention)
        if wrong := _no_tokens(kept, left):
            raise PluginError(f"{told}: choose gave {wrong}")
        return kept

    return replace(plan, pruning=replace(plan.pruning, choose=looked_through))


def _form(tensor: torch.Tensor) -> str:
    return f"of shape {tuple(tensor.shape)} and type {str(tensor.dtype).removeprefix('torch.')}"


def forget() -> None:
    """Look again at what is installed."""
    installed.cache_clear()
    _loaded.cache_clear()


def _source(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown package"
