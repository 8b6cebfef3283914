# SPDX-License-Identifier: Apache-2.0
"""Which setting is a selector's budget: how many tokens it recomputes whatever changed."""

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
