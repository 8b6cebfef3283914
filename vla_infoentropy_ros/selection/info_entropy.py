# SPDX-License-Identifier: Apache-2.0
"""VLA-InfoEntropy: reuse what stayed the same, unless it is informative or attended to."""

from __future__ import annotations

from typing import NamedTuple

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.attention_information import attention_information
from vla_infoentropy_ros.selection.base import (
    Selection,
    SelectionInput,
    found,
    indices,
    probed,
    with_bits,
)
from vla_infoentropy_ros.selection.image_entropy import image_entropy
from vla_infoentropy_ros.selection.ranking import top, top_count, turn
from vla_infoentropy_ros.selection.schedule import Budgets, budgets, check_schedule, concentration
from vla_infoentropy_ros.selection.settings import SelectionSettings, scaled_layer
from vla_infoentropy_ros.selection.staleness import drift, patch_cosine, relative_drift


class InfoEntropy:
    """R_t = S_t \\ I_t keeps its keys and values (arXiv 2604.05323, section 3).

    S_t: the at most ``static_cap`` most unchanged tokens. I_t: the union of the top k_visual by
    image entropy and the top k_attention by attention information, shifted by the schedule.

    ``form: half_drift`` is ours: a fixed number of fresh tokens, half of it an important set
    with the paper's 40:60 shares, the rest those that drifted most, in all layers.
    """

    name = "info_entropy"
    reuses = True
    prunes = False

    def __init__(self, settings: SelectionSettings, schedule: str = "linear") -> None:
        check_schedule(schedule)
        self.settings, self.schedule = settings, schedule

    def needs(self, depth: int) -> AttentionNeeds:
        return probed(self.settings, depth)

    def select(self, given: SelectionInput) -> Selection:
        settings = self.settings
        words = given.last_attention.text
        if settings.words == "instruction":
            words = words[:, given.words]
        words = words.mean(0)
        mass = words.mean(0)
        concentrated = concentration(mass) if self.schedule == "adaptive" else 0.0
        budget = budgets(self.schedule, given.t, settings, concentrated)
        pixels = given.patches.float()  # once for two signals
        seen = _Seen(
            pixels,
            image_entropy(pixels, settings.grey_levels),
            attention_information(
                words.unflatten(-1, (given.views, -1)),
                settings.attention_mode,
                settings.temperature,
            ),
            mass,
        )
        choose = self._paper if settings.form == "paper" else self._half_drift
        return choose(given, seen, budget)

    def _paper(self, given: SelectionInput, seen: _Seen, budget: Budgets) -> Selection:
        change, limit = self._change(given, seen.pixels)
        cap = self.settings.static_cap
        back = turn(change.shape[-1], cap, given.t)
        by_texture, by_attention, stillest = top(
            torch.stack((seen.texture, seen.information, -change.roll(-back, -1))),
            (budget.visual, budget.attention, cap),
        )
        unchanged, within = change <= limit, stillest.roll(back, -1)
        fresh = ~(unchanged & within) | by_texture | by_attention
        layer = scaled_layer(self.settings.reuse_from_layer, given.depth)
        return Selection(
            TokenPlan.reuse(found(fresh.view(1, -1))[0], fresh.numel(), layer),
            with_bits(
                (by_texture, reasons.IMAGE_ENTROPY),
                (by_attention, reasons.ATTENTION),
                (~unchanged, reasons.STALE),
                (unchanged & ~within, reasons.AGE),
            ),
            seen.signals(change),
            budget.alpha, budget.visual, budget.attention,
        )

    def _half_drift(self, given: SelectionInput, seen: _Seen, budget: Budgets) -> Selection:
        total = self.settings.fresh_tokens
        both = max(budget.visual + budget.attention, 1)
        k_visual = total // 2 * budget.visual // both
        k_attention = total // 2 - k_visual
        by_texture, by_attention = top(
            torch.stack((seen.texture, seen.information)), (k_visual, k_attention)
        )
        change = given.per_view(drift(given.embeddings, given.reference_embeddings))
        important = by_texture | by_attention
        # The important come first, so that drift fills exactly what is left of the budget.
        fresh = top(torch.where(important, float("inf"), change), total, given.per_view(given.ages))
        return Selection(
            TokenPlan.reuse(indices(fresh, top_count(change, total)), fresh.numel()),
            with_bits(
                (by_texture, reasons.IMAGE_ENTROPY),
                (by_attention, reasons.ATTENTION),
                (fresh & ~important, reasons.STALE),
            ),
            seen.signals(change),
            budget.alpha, k_visual, k_attention,
        )

    def _change(
        self, given: SelectionInput, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        """How much each token changed, (V, n), and how much counts as unchanged."""
        settings = self.settings
        if settings.staleness == "pixel":
            similarity = patch_cosine(pixels, given.reference_patches, settings.patch_block)
            return 1.0 - similarity, 1.0 - settings.static_threshold
        change = relative_drift(given.embeddings, given.reference_embeddings)
        return given.per_view(change), settings.drift_threshold


class _Seen(NamedTuple):
    """pixels: (V, n, P, 3) float32. texture, information: (V, n), what claims a token. mass:
    (N,), attention of the words."""

    pixels: torch.Tensor
    texture: torch.Tensor
    information: torch.Tensor
    mass: torch.Tensor

    def signals(self, change: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "image_entropy": self.texture.flatten(),
            "attention_information": self.information.flatten(),
            "attention_mass": self.mass,
            "drift": change.flatten(),
        }
