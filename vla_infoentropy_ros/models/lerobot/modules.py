# SPDX-License-Identifier: Apache-2.0
"""Pieces that the networks of SmolVLA and pi0 share."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ScaledEmbedding(nn.Embedding):
    """Words at the scale that the policies feed them: times the root of their width."""

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(token_ids) * math.sqrt(self.embedding_dim)


def time_encoding(time: float, width: int, periods: tuple[float, float]) -> torch.Tensor:
    """A flow time in [0, 1] to (width,) float64: sines, then cosines, of periods between the two
    in geometric order."""
    share = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64)
    angle = 2 * math.pi * time / (periods[0] * (periods[1] / periods[0]) ** share)
    return torch.cat([angle.sin(), angle.cos()])


def embed_actions(
    parts: Any, chunk: torch.Tensor, time: float, periods: tuple[float, float]
) -> torch.Tensor:
    """A noisy chunk (1, H, a) at flow time ``time`` to what enters an expert, (1, H, d).

    parts: holds the layers ``action_in_proj``, ``action_time_mlp_in`` and ``action_time_mlp_out``.
    """
    hidden = parts.action_in_proj(chunk.to(parts.action_in_proj.weight.dtype))
    moment = time_encoding(time, hidden.shape[-1], periods).to(hidden)
    merged = torch.cat([hidden, moment.expand_as(hidden)], dim=-1)
    entering: torch.Tensor = parts.action_time_mlp_out(F.silu(parts.action_time_mlp_in(merged)))
    return entering


def state_row(projection: nn.Linear, state: torch.Tensor) -> torch.Tensor:
    """A normalised state (S,), filled up with zeros, to one row (1, d)."""
    padded = F.pad(state, (0, projection.in_features - state.shape[0]))
    row: torch.Tensor = projection(padded.to(projection.weight.dtype))
    return row[None]
