# SPDX-License-Identifier: Apache-2.0
"""Top-k that is the same on every machine: ties go to the lower token index."""

from __future__ import annotations

import torch


def top(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Mask of the k highest scores along the last axis; NaN ranks last.

    scores: (..., n). Returns bool (..., n) with min(k, n) true in each row.
    """
    ranked = torch.nan_to_num(scores, nan=float("-inf"), posinf=float("inf"), neginf=float("-inf"))
    order = ranked.sort(dim=-1, descending=True, stable=True).indices
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(-1, order[..., : max(k, 0)], True)
