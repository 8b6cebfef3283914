# SPDX-License-Identifier: Apache-2.0
"""Which setting is a selector's budget: how many tokens it recomputes whatever changed; and who
has none."""

from __future__ import annotations

from vla_infoentropy_ros.selection.settings import SelectionSettings

_BUDGETS = {
    "attention_drift": "fresh_tokens", "random": "fresh_tokens", "vla_cache": "cache_evicted",
}


def budget_of(selector: str, settings: SelectionSettings) -> str:
    """The field of the settings, tokens per view; "" for a selector that has no such budget."""
    if selector == "info_entropy" and settings.form == "half_drift":
        return "fresh_tokens"
    return _BUDGETS.get(selector, "")


def blind(selector: str, settings: SelectionSettings) -> bool:
    """Whether nothing is recomputed after an episode's first picture, whatever changes: the policy
    acts on a photograph."""
    none = budget_of(selector, settings) == "fresh_tokens" and settings.fresh_tokens == 0
    return (selector == "stale" or none) and not settings.refreshes
