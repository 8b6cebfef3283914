# SPDX-License-Identifier: Apache-2.0
"""Pruning baselines: VLA-Pruner (arXiv 2511.16449) and FastV. They drop tokens, reuse nothing.

Both keep M tokens of every view, so that no camera goes dark because another looks busier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, indices
from vla_infoentropy_ros.selection.ranking import top, top_count
from vla_infoentropy_ros.selection.settings import SelectionSettings, scaled_layer

_RELEASED_LAYER = 15  # of 32, of the action score in the released code


@dataclass(frozen=True)
class _History:
    """Action attention of the last steps, newest first, (N,) float32 each."""

    scores: tuple[torch.Tensor, ...]


class VlaPruner:
    """Keeps what the prefill or the last actions look at, thinned out to be diverse.

    Two levels: the semantic score is this step's mean prefill attention at the layer before the
    pruning, the action score the smoothed attention of the action tokens over the last steps.
    In each view the union of both top-M sets is filtered by greedy max-min diversity down to M.
    The first ``prune_window`` steps, while the smoothing fills, are unpruned. A token that was
    pruned, and so could not be attended, keeps its last known action score (the released code
    counts it 0, the paper does not). The released code reads the action score in one layer and of
    the seven rows that predict tokens; settings of the names ``prune_action_*`` give that.
    """

    name = "vla_pruner"
    schedule = ""
    reuses = False
    prunes = True

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def needs(self, depth: int) -> AttentionNeeds:
        if self.settings.prune_action_layers == "single":
            return AttentionNeeds((scaled_layer(_RELEASED_LAYER, depth),), action=True)
        return AttentionNeeds(tuple(range(depth // 2, depth)), action=True)

    def select(self, given: SelectionInput) -> Selection:
        settings = self.settings
        history = self._extended(given)
        count = given.embeddings.shape[0]
        unpruned = torch.full((count,), reasons.REFRESH, dtype=torch.uint8)
        if len(history.scores) < settings.prune_window:
            return Selection(TokenPlan.dense(count, given.embeddings.device), unpruned,
                             state=history)
        action = smoothed(history.scores, settings.prune_decay)
        keep = _kept_per_view(given, settings.prune_ratio)
        acted = top(given.per_view(action), keep)
        unit = torch.nn.functional.normalize(given.embeddings.float(), dim=-1)
        unit = unit.view(*acted.shape, -1)

        def choose(semantic: torch.Tensor) -> torch.Tensor:
            seen = given.per_view(semantic)
            return indices(
                diverse(unit, top(seen, keep) | acted, seen, keep), top_count(seen, keep)
            )

        plan = _pruned(count, scaled_layer(settings.prune_layer, given.depth), choose, given)
        return Selection(plan, unpruned, {"attention_mass": action}, state=history)

    def _extended(self, given: SelectionInput) -> _History:
        before: Any = given.state or _History(())
        if given.attention is None:
            return before
        rows = given.attention.action
        if self.settings.prune_action_rows == "predicting":
            rows = torch.cat((given.attention.text[:, -1:], rows), 1)
        latest = rows.mean((0, 1))
        if before.scores:
            # Attention of exactly zero in every row and layer: the token was not there to see.
            latest = torch.where(latest > 0, latest, before.scores[0])
        return _History((latest, *before.scores)[: self.settings.prune_window])


class FastV:
    """Keeps the tokens that the prefill rows attend to most at the layer before the pruning;
    FastV's own code asks the last row alone (``fastv_rows: last``)."""

    name = "fastv"
    schedule = ""
    reuses = False
    prunes = True

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(())

    def select(self, given: SelectionInput) -> Selection:
        count = given.embeddings.shape[0]
        keep = _kept_per_view(given, self.settings.prune_ratio)

        def choose(semantic: torch.Tensor) -> torch.Tensor:
            seen = given.per_view(semantic)
            return indices(top(seen, keep), top_count(seen, keep))

        layer = scaled_layer(self.settings.fastv_layer, given.depth)
        plan = _pruned(count, layer, choose, given, self.settings.fastv_rows == "last")
        return Selection(plan, torch.full((count,), reasons.REFRESH, dtype=torch.uint8))


def _kept_per_view(given: SelectionInput, ratio: float) -> int:
    """M, what is left of the tokens of one view when ``ratio`` of them is dropped: one at least."""
    return max(1, round(given.embeddings.shape[0] // given.views * (1.0 - ratio)))


def _pruned(
    count: int, layer: int, choose: Callable[[torch.Tensor], torch.Tensor],
    given: SelectionInput, last_row: bool = False,
) -> TokenPlan:
    every = torch.arange(count, device=given.embeddings.device)
    return TokenPlan((Stage(0, every),), Pruning(layer, choose, last_row))


def smoothed(scores: tuple[torch.Tensor, ...], decay: float) -> torch.Tensor:
    """Weighted mean of (N,) scores, newest first: the i-th newest, i = 1, 2, ..., weighs
    decay^i."""
    weights = [decay**i for i in range(1, len(scores) + 1)]
    total = sum(weights)
    if total == 0:  # decay 0: no weight for anything but, in the limit, the newest
        return scores[0]
    shares = torch.tensor([weight / total for weight in weights], device=scores[0].device)
    return (torch.stack(scores) * shares[:, None]).sum(0)


def diverse(
    unit: torch.Tensor, candidates: torch.Tensor, first: torch.Tensor, keep: int
) -> torch.Tensor:
    """Greedy max-min diversity in each view: start with the candidate of the highest ``first``
    score, then take again and again the candidate farthest from all taken, by distance 1 - cos.

    unit: (V, n, d) unit vectors. candidates: (V, n) bool, at least ``keep`` true in each view.
    first: (V, n). Returns bool (V, n), ``keep`` true in each view. Ties go to the lower index.
    """
    views, tokens = candidates.shape
    never = float("-inf")
    distance = 1.0 - unit @ unit.transpose(-1, -2)
    distance.diagonal(dim1=-2, dim2=-1).fill_(never)  # what is taken is not taken again
    distance = distance.view(-1, tokens)
    rows = torch.arange(0, views * tokens, tokens, device=unit.device)
    nearest = torch.where(candidates, -never, never)
    current = torch.where(candidates, first, never).argmax(-1)
    for _ in range(keep):
        nearest = torch.minimum(nearest, distance.index_select(0, rows + current))
        current = nearest.argmax(-1)
    return candidates & nearest.isneginf()
