# SPDX-License-Identifier: Apache-2.0
"""Top-k that is the same on every machine: ties go to the older token where ages are given, else,
and among equals, to the lower token index."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def best_first(scores: torch.Tensor, ages: torch.Tensor | None = None) -> torch.Tensor:
    """Indices (..., n) of the highest score first, NaN last. ages: (..., n), of equal scores the
    higher comes first."""
    # A sort puts NaN at the upper end, which must be the far one.
    if ages is None:
        return (-scores).sort(dim=-1, stable=True).indices
    oldest = (-ages).sort(dim=-1, stable=True).indices
    order = (-scores.gather(-1, oldest)).sort(dim=-1, stable=True).indices
    return oldest.gather(-1, order)


def top(
    scores: torch.Tensor, k: int | Sequence[int], ages: torch.Tensor | None = None
) -> torch.Tensor:
    """Mask of the k highest scores along the last axis; NaN ranks last.

    scores: (..., n). k: for all alike, or a number for each along the first axis (one sort of
    several scores costs hardly more than that of one). ages: see `best_first`. Returns bool
    (..., n), min(k, n) true in each row.
    """
    order = best_first(scores, ages)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if isinstance(k, int):
        return mask.scatter_(-1, order[..., : max(k, 0)], True)
    for row, ranked, limit in zip(mask, order, k, strict=True):
        row.scatter_(-1, ranked[..., : max(limit, 0)], True)
    return mask


def top_count(scores: torch.Tensor, k: int) -> int:
    """How many entries `top` marks in all rows together."""
    n = scores.shape[-1]
    return scores.numel() // n * min(max(k, 0), n)


def turn(n: int, kept: int, t: int) -> int:
    """How far n equal scores are to be rolled back before the first ``kept`` are kept at step t.

    Many patches do not change at all, and a cap that kept the same ones of them in every step
    would recompute the rest for ever. So whoever is left out moves on from step to step, and
    after n / (n - kept) of them each was.
    """
    return t * max(n - kept, 0) % n


def covering(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Mask of the fewest entries of each row that together hold ``share`` of its sum.

    scores: (..., n) >= 0. A row of zeros needs none.
    """
    ranked, order = scores.sort(dim=-1, descending=True, stable=True)
    ranked = ranked.double()  # in float32 a sum hangs on its order, and the last entries with it
    reached = ranked.cumsum(-1)
    wanted = reached - ranked < share * reached[..., -1:]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, order, wanted)
