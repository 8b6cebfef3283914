# SPDX-License-Identifier: Apache-2.0
"""Our selector: recompute what went stale, weighted by how much the policy looks at it."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, indices, with_bits
from vla_infoentropy_ros.selection.ranking import top
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.staleness import drift


class AttentionDrift:
    """The top ``fresh_tokens`` by drift x (m + mean m).

    m is last step's attention mass on the token: to first order, drift x m is how much the rows
    that decide the action would change if the token were brought up to date. The mean is added
    so that a token nobody looked at yet still comes to its turn. The budget is fixed: a threshold
    would starve when the arm stalls.
    """

    name = "attention_drift"
    schedule = ""
    reuses = True

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(None)

    def select(self, given: SelectionInput) -> Selection:
        mass = attention_mass(given.last_attention)
        change = drift(given.embeddings, given.reference_embeddings)
        fresh = top(given.per_view(change * (mass + mass.mean())), self.settings.fresh_tokens)
        return Selection(
            TokenPlan.reuse(indices(fresh), fresh.numel()),
            with_bits((fresh, reasons.STALE)),
            {"attention_mass": mass, "drift": change},
        )


def attention_mass(attention: Attention) -> torch.Tensor:
    """(N,) float32: mean over layers, heads, text and action rows."""
    return torch.cat((attention.text, attention.action), dim=1).mean((0, 1))
