# SPDX-License-Identifier: Apache-2.0
"""VLA-InfoEntropy: reuse what stayed the same, unless it is informative or attended to."""

from __future__ import annotations

from dataclasses import replace

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.attention_information import attention_information
from vla_infoentropy_ros.selection.base import (
    Selection,
    SelectionInput,
    indices,
    probed,
    with_bits,
)
from vla_infoentropy_ros.selection.image_entropy import image_entropy
from vla_infoentropy_ros.selection.ranking import top
from vla_infoentropy_ros.selection.schedule import Budgets, budgets, check_schedule, concentration
from vla_infoentropy_ros.selection.settings import SelectionSettings, scaled_layer
from vla_infoentropy_ros.selection.staleness import (
    drift,
    patch_cosine,
    relative_drift,
    stillness,
)


class InfoEntropy:
    """R_t = S_t \\ I_t keeps its keys and values (arXiv 2604.05323, section 3).

    S_t: the at most ``static_cap`` most unchanged tokens. I_t: the union of the top k_visual by
    image entropy and the top k_attention by attention information, shifted by the schedule.

    ``form: half_drift`` is ours: a fixed number of fresh tokens, half of it an important set
    with the paper's 40:60 shares, the rest those that drifted most, in all layers.
    """

    name = "info_entropy"
    reuses = True

    def __init__(self, settings: SelectionSettings, schedule: str = "linear") -> None:
        check_schedule(schedule)
        self.settings, self.schedule = settings, schedule

    def needs(self, depth: int) -> AttentionNeeds:
        return probed(self.settings, depth)

    def select(self, given: SelectionInput) -> Selection:
        settings = self.settings
        words = given.last_attention.text.mean(0)
        if settings.words == "instruction":
            words = words[given.words]
        mass = words.mean(0)
        concentrated = concentration(mass) if self.schedule == "adaptive" else 0.0
        budget = budgets(self.schedule, given.t, settings, concentrated)
        given = replace(given, patches=given.patches.float())  # for both signals at once
        texture = image_entropy(given.patches, settings.grey_levels)
        information = attention_information(words, settings.attention_mode, settings.temperature)
        choose = self._paper if settings.form == "paper" else self._half_drift
        return choose(given, budget, texture, information, mass)

    def _paper(
        self, given: SelectionInput, budget: Budgets, texture: torch.Tensor,
        information: torch.Tensor, mass: torch.Tensor,
    ) -> Selection:
        by_texture = top(texture, budget.visual)
        by_attention = top(given.per_view(information), budget.attention)
        unchanged, change = self._unchanged(given)
        fresh = ~unchanged | by_texture | by_attention
        layer = scaled_layer(self.settings.reuse_from_layer, given.depth)
        return Selection(
            TokenPlan.reuse(indices(fresh), fresh.numel(), layer),
            with_bits(
                (by_texture, reasons.IMAGE_ENTROPY),
                (by_attention, reasons.ATTENTION),
                (~unchanged, reasons.STALE),
            ),
            _named(texture, information, mass, change),
            budget.alpha, budget.visual, budget.attention,
        )

    def _half_drift(
        self, given: SelectionInput, budget: Budgets, texture: torch.Tensor,
        information: torch.Tensor, mass: torch.Tensor,
    ) -> Selection:
        total = self.settings.fresh_tokens
        both = max(budget.visual + budget.attention, 1)
        k_visual = total // 2 * budget.visual // both
        k_attention = total // 2 - k_visual
        by_texture = top(texture, k_visual)
        by_attention = top(given.per_view(information), k_attention)
        change = given.per_view(drift(given.embeddings, given.reference_embeddings))
        important = by_texture | by_attention
        # The important come first, so that drift fills exactly what is left of the budget.
        fresh = top(torch.where(important, float("inf"), change), total)
        return Selection(
            TokenPlan.reuse(indices(fresh), fresh.numel()),
            with_bits(
                (by_texture, reasons.IMAGE_ENTROPY),
                (by_attention, reasons.ATTENTION),
                (fresh & ~important, reasons.STALE),
            ),
            _named(texture, information, mass, change),
            budget.alpha, k_visual, k_attention,
        )

    def _unchanged(self, given: SelectionInput) -> tuple[torch.Tensor, torch.Tensor]:
        """S_t as a mask, and how much each token changed, both (V, n)."""
        settings = self.settings
        if settings.staleness == "pixel":
            similarity = patch_cosine(
                given.patches.flatten(2), given.reference_patches.flatten(2)
            )
            change, within = 1.0 - similarity, similarity >= settings.static_threshold
        else:
            change = given.per_view(
                relative_drift(given.embeddings, given.reference_embeddings)
            )
            within = change <= settings.drift_threshold
        kept = top(stillness(-change, given.per_view(given.ages)), settings.static_cap)
        return within & kept, change


def _named(
    texture: torch.Tensor, information: torch.Tensor, mass: torch.Tensor, change: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {
        "image_entropy": texture.flatten(),
        "attention_information": information,
        "attention_mass": mass,
        "drift": change.flatten(),
    }
