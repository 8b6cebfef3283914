# SPDX-License-Identifier: Apache-2.0
"""VLA-InfoEntropy: reuse what stayed the same, unless it is informative or attended to."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.attention_information import attention_information
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, indices, with_bits
from vla_infoentropy_ros.selection.image_entropy import image_entropy
from vla_infoentropy_ros.selection.ranking import top
from vla_infoentropy_ros.selection.schedule import budgets, check_schedule
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.staleness import patch_cosine, relative_drift


class InfoEntropy:
    """R_t = S_t \\ I_t keeps its keys and values (arXiv 2604.05323, section 3).

    S_t: the at most ``static_cap`` most unchanged tokens. I_t: the union of the top k_visual by
    image entropy and the top k_attention by attention information, shifted by the schedule.
    """

    name = "info_entropy"
    reuses = True

    def __init__(self, settings: SelectionSettings, schedule: str = "linear") -> None:
        check_schedule(schedule)
        self.settings, self.schedule = settings, schedule

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(None)

    def select(self, given: SelectionInput) -> Selection:
        settings = self.settings
        budget = budgets(self.schedule, given.t, settings)
        texture = image_entropy(given.image, given.grid, settings.grey_levels)
        words = given.last_attention.text.mean(0)
        if settings.words == "instruction":
            words = words[given.instruction]
        information = attention_information(words, settings.attention_mode, settings.temperature)

        by_texture = top(texture, budget.visual)
        by_attention = top(given.per_view(information), budget.attention)
        unchanged, drift = self._unchanged(given)
        fresh = ~unchanged | by_texture | by_attention
        return Selection(
            TokenPlan.reuse(indices(fresh), fresh.numel(), settings.reuse_from_layer),
            with_bits(
                (by_texture, reasons.IMAGE_ENTROPY),
                (by_attention, reasons.ATTENTION),
                (~unchanged, reasons.STALE),
            ),
            {
                "image_entropy": texture.flatten(),
                "attention_information": information,
                "attention_mass": words.mean(0),
                "drift": drift.flatten(),
            },
            budget.alpha,
            budget.visual,
            budget.attention,
        )

    def _unchanged(self, given: SelectionInput) -> tuple[torch.Tensor, torch.Tensor]:
        """S_t as a mask, and how much each token changed, both (V, n)."""
        settings = self.settings
        if settings.staleness == "pixel":
            similarity = patch_cosine(given.patches, given.reference_patches)
            change, within = 1.0 - similarity, similarity >= settings.static_threshold
        else:
            change = given.per_view(
                relative_drift(given.embeddings, given.reference_embeddings)
            )
            within = change <= settings.drift_threshold
        return within & top(-change, settings.static_cap), change
