# SPDX-License-Identifier: Apache-2.0
"""Controls: what a selector must beat to have chosen anything at all."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, indices, with_bits
from vla_infoentropy_ros.selection.ranking import top, top_count
from vla_infoentropy_ros.selection.settings import SelectionSettings


class Random:
    """``fresh_tokens`` tokens per view drawn anew each step, from ``seed`` and t alone."""

    name = "random"
    schedule = ""
    reuses = True
    prunes = False

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(())

    def select(self, given: SelectionInput) -> Selection:
        count = given.embeddings.shape[0]
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + given.t)
        draw = torch.rand(count, generator=generator).to(given.embeddings.device)
        draw = given.per_view(draw)
        fresh = top(draw, self.settings.fresh_tokens)
        chosen = indices(fresh, top_count(draw, self.settings.fresh_tokens))
        return Selection(
            TokenPlan.reuse(chosen, count), with_bits((fresh, reasons.CONTROL))
        )


class Stale:
    """Nothing is recomputed after the first frame: the policy acts on a photograph."""

    name = "stale"
    schedule = ""
    reuses = True
    prunes = False

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(())

    def select(self, given: SelectionInput) -> Selection:
        count, device = given.embeddings.shape[0], given.embeddings.device
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return Selection(
            TokenPlan.reuse(nothing, count), torch.zeros(count, dtype=torch.uint8, device=device)
        )
