# SPDX-License-Identifier: Apache-2.0
"""What a selector is: a pure function from what is known to a plan and why."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, AttentionNeeds
from vla_infoentropy_ros.selection.settings import SelectionSettings


@dataclass(frozen=True)
class SelectionInput:
    """Everything a selector may look at; N = views * rows * cols visual tokens.

    t: policy steps executed since the episode began. embeddings: (N, d), today's projected visual
    tokens. patches: (V, n, P, 3) uint8, today's RGB patches. reference_embeddings and
    reference_patches (float32): those from which each token's cached keys and values were
    computed.
    ages: (N,) int64, steps since the token was recomputed. attention: of the step before; None
    only for a selector that reuses nothing and is asked before there was one.
    words: (W,) int64, the text rows that are words of the instruction. depth: decoder layers.
    ridge: visual tokens a pass recomputes for free, 0 unless the selector asked for it. state:
    what this selector returned last time, None at first.
    """

    t: int
    patches: torch.Tensor
    reference_patches: torch.Tensor
    embeddings: torch.Tensor
    reference_embeddings: torch.Tensor
    ages: torch.Tensor
    attention: Attention | None
    words: torch.Tensor
    depth: int
    ridge: int = 0
    state: Any = None

    @property
    def views(self) -> int:
        return int(self.patches.shape[0])

    @property
    def last_attention(self) -> Attention:
        """`attention`, for a selector that reuses and so never runs without it."""
        assert self.attention is not None, "the session runs reusing selectors after a refresh"
        return self.attention

    def per_view(self, scores: torch.Tensor) -> torch.Tensor:
        """(N,) to (V, n)."""
        return scores.view(self.views, -1)


@dataclass(frozen=True)
class Selection:
    """plan: what to recompute. reasons: (N,) uint8 bits of `reasons`. signals: the scores that
    decided, by name (image_entropy, attention_information, attention_mass, drift), (N,) each.
    alpha, k_visual, k_attention: position of the schedule; NaN and -1 without one."""

    plan: TokenPlan
    reasons: torch.Tensor
    signals: dict[str, torch.Tensor] = field(default_factory=dict)
    alpha: float = float("nan")
    k_visual: int = -1
    k_attention: int = -1
    state: Any = None


class Selector(Protocol):
    """Pure: equal input, equal plan. The session keeps all state, `Selection.state` included."""

    name: str
    schedule: str  # "" when the selector has none
    reuses: bool  # whether its plans read keys and values of earlier steps
    prunes: bool  # whether its plans hide tokens from the rows that decide the action

    def needs(self, depth: int) -> AttentionNeeds:
        """Which attention of each step to record, for a decoder of ``depth`` layers."""
        ...

    def select(self, given: SelectionInput) -> Selection: ...


def probed(settings: SelectionSettings, depth: int) -> AttentionNeeds:
    """The layers that ``attention_layers`` names."""
    if settings.attention_layers == "latter_half":
        return AttentionNeeds(tuple(range(depth // 2, depth)))
    if settings.attention_layers == "every_fourth":
        return AttentionNeeds(tuple(range(depth - 1, -1, -4))[::-1])
    return AttentionNeeds(None)


def indices(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Boolean mask, any shape, to the sorted flat indices of its ``count`` true entries.

    With the count known nothing waits for the device, as it would to learn how many there are.
    """
    order = mask.flatten().view(torch.uint8).sort(descending=True, stable=True).indices
    return order[:count]


def found(masks: torch.Tensor) -> list[torch.Tensor]:
    """`indices` of each mask (S, N) whose count only the device knows; one read-back for all."""
    counts = masks.sum(-1).tolist()
    return [indices(mask, count) for mask, count in zip(masks, counts, strict=True)]


def with_bits(*claims: tuple[torch.Tensor, int]) -> torch.Tensor:
    """Reasons (N,) uint8 from pairs of (mask of N entries, bit); masks of one shape."""
    bits = [mask.view(torch.uint8) * bit for mask, bit in claims]
    return functools.reduce(torch.bitwise_or, bits).flatten()
