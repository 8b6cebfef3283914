# SPDX-License-Identifier: Apache-2.0
"""Hand-made inputs of selectors."""

from __future__ import annotations

from dataclasses import replace

import torch

from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.selection import SelectionInput

N = 16


def input_of(**changes) -> SelectionInput:
    """4x4 tokens of 2x2 black pixels, nothing moved, attention uniform; two words and an end."""
    attention = Attention((0, 1), torch.full((2, 3, N), 1e-3), torch.full((2, 6, N), 1e-3))
    patches = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    base = SelectionInput(
        t=1,
        patches=patches, reference_patches=patches.clone(),
        embeddings=torch.ones(N, 3), reference_embeddings=torch.ones(N, 3),
        ages=torch.ones(N, dtype=torch.int64), attention=attention,
        words=torch.tensor([0, 1]), depth=4,
    )
    return replace(base, **changes)


def chosen(selector, given) -> list[int]:
    return selector.select(given).plan.fresh.tolist()


def attended(words: dict[int, float], actions: dict[int, float] | None = None) -> Attention:
    """Attention whose first word claims the given tokens."""
    text = torch.full((2, 3, N), 1e-3)
    action = torch.full((2, 6, N), 1e-3)
    for token, mass in words.items():
        text[:, 0, token] = mass
    for token, mass in (actions or {}).items():
        action[:, :, token] = mass
    return Attention((0, 1), text, action)
