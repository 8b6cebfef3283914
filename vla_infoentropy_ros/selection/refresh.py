# SPDX-License-Identifier: Apache-2.0
"""Rules on top of a reusing selector: ridge top-up, age limit, keyframes."""

from __future__ import annotations

from dataclasses import replace

import torch

from vla_infoentropy_ros.engine.plan import Stage, TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, Selector, found
from vla_infoentropy_ros.selection.ranking import top
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.staleness import drift


class WithRefresh:
    """Adds tokens to the plans of another selector, and says why.

    Age limit: a token as old as ``age_limit`` steps is recomputed. Keyframe: every
    ``keyframe_every`` steps everything is. Top-up: a plan of fewer than ``top_up_to`` tokens per
    view is filled by drift; below the ridge, where a pass is bound by reading the weights, that
    costs no time.
    """

    reuses = True
    prunes = False

    def __init__(self, selector: Selector, settings: SelectionSettings) -> None:
        self.selector, self.settings = selector, settings
        self.name, self.schedule = selector.name, selector.schedule

    @property
    def wants_ridge(self) -> bool:
        return self.settings.top_up_to == -1

    def needs(self, depth: int) -> AttentionNeeds:
        return self.selector.needs(depth)

    def select(self, given: SelectionInput) -> Selection:
        selection = self.selector.select(given)
        chosen = torch.zeros_like(selection.reasons, dtype=torch.bool)
        chosen[selection.plan.fresh] = True
        bits, added = selection.reasons.clone(), torch.zeros_like(chosen)
        for extra, bit in (
            (self._keyframe(given, chosen), reasons.REFRESH),
            (self._aged(given, chosen), reasons.AGE),
        ):
            bits |= (extra & ~chosen).to(torch.uint8) * bit
            added |= extra & ~chosen
        top_up = self._top_up(given, chosen | added)
        bits |= top_up.to(torch.uint8) * reasons.TOP_UP
        return replace(
            selection, plan=_widened(selection.plan, added | top_up), reasons=bits
        )

    def _keyframe(self, given: SelectionInput, like: torch.Tensor) -> torch.Tensor:
        every = self.settings.keyframe_every
        return torch.full_like(like, bool(every) and given.t % every == 0)

    def _aged(self, given: SelectionInput, like: torch.Tensor) -> torch.Tensor:
        limit = self.settings.age_limit
        # A token computed in the last step has age 0 now and would have 1 if kept once more.
        return given.ages + 1 >= limit if limit else torch.zeros_like(like)

    def _top_up(self, given: SelectionInput, chosen: torch.Tensor) -> torch.Tensor:
        limit = given.ridge // given.views if self.wants_ridge else self.settings.top_up_to
        if not limit:
            return torch.zeros_like(chosen)
        change = drift(given.embeddings, given.reference_embeddings)
        # The chosen come first, so that the fill is what is missing and nothing else.
        ranked = torch.where(chosen, float("inf"), change)
        return top(given.per_view(ranked), limit).flatten() & ~chosen


def _widened(plan: TokenPlan, added: torch.Tensor) -> TokenPlan:
    masks = added.repeat(len(plan.stages), 1)
    for mask, stage in zip(masks, plan.stages, strict=True):
        mask[stage.fresh] = True
    stages = zip(plan.stages, found(masks), strict=True)
    return replace(plan, stages=tuple(Stage(stage.layer, fresh) for stage, fresh in stages))
