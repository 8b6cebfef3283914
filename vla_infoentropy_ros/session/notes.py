# SPDX-License-Identifier: Apache-2.0
"""What a person should know of a policy that is to be run so: sentences, none of them an error."""

from __future__ import annotations

from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.selection.budget import blind, budget_of
from vla_infoentropy_ros.session.options import SessionOptions
from vla_infoentropy_ros.session.session import decoding


def notes_on(
    policy: PolicyAdapter, selector: str, settings: SelectionSettings, options: SessionOptions
) -> list[str]:
    """Of what was asked for and has no effect on this policy, and of pictures that have none."""
    return [note for note in (_on_decoding(policy, options),
                              _on_budget(policy, selector, settings),
                              on_blindness(selector, settings)) if note]


def on_blindness(selector: str, settings: SelectionSettings) -> str:
    """Empty but for what acts on an episode's first picture throughout."""
    if not blind(selector, settings):
        return ""
    asked = (f"selector={selector}" if selector == "stale"
             else f"selection.fresh_tokens=0 with selector={selector}")
    return (f"{asked} recomputes nothing after an episode's first picture: a control to compare "
            "with; a node stops the robot for it (stale_observation)")


def _on_decoding(policy: PolicyAdapter, options: SessionOptions) -> str:
    if decoding(policy, options) == options.decode:
        return ""
    return f"{policy.name} has no action tokens: there is nothing for decode={options.decode} to do"


def _on_budget(policy: PolicyAdapter, selector: str, settings: SelectionSettings) -> str:
    """Budgets were found on policies of 256 tokens a view; others have fewer than a budget."""
    budget = budget_of(selector, settings)
    tokens = policy.grid[0] * policy.grid[1]
    if not budget or getattr(settings, budget) < tokens:
        return ""
    return (
        f"selection.{budget}={getattr(settings, budget)}: {policy.name} has {tokens} visual tokens "
        f"in a view, so that {selector} recomputes all of them and reuses nothing; begin with "
        f"{max(1, tokens // 4)}"
    )
