# SPDX-License-Identifier: Apache-2.0
"""Which visual tokens a step recomputes, in which layers: the contract between selection and
engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vla_infoentropy_ros.foreign.text import UserError


class PlanError(UserError, ValueError):
    """A token plan contradicts itself or the model."""


@dataclass(frozen=True)
class Stage:
    """From decoder layer ``layer`` on, only the visual tokens ``fresh`` are recomputed.

    fresh: (n,) int64, sorted, unique, in [0, N). All others keep the keys and values that the
    cache holds for them in these layers.
    """

    layer: int
    fresh: torch.Tensor


@dataclass(frozen=True)
class Pruning:
    """From decoder layer ``layer`` on, the visual tokens not chosen are gone: neither computed
    nor attended.

    choose: maps this step's attention at ``layer - 1``, (N,) float32, mean over heads and rows of
    the prompt, to the kept visual tokens, (m,) int64, sorted and unique. last_row: only the last
    row of the prompt, the one that predicts the first action token, is asked.
    """

    layer: int
    choose: Callable[[torch.Tensor], torch.Tensor]
    last_row: bool = False

    def __post_init__(self) -> None:
        if self.layer < 1:
            raise PlanError(f"pruning layer={self.layer}: needs >= 1, it reads the layer before")


@dataclass(frozen=True)
class TokenPlan:
    """Stages in rising layer order, the first at layer 0, each a subset of the one before.

    Text, and BOS when everything is fresh, are always recomputed and are not listed.
    """

    stages: tuple[Stage, ...]
    pruning: Pruning | None = None

    def __post_init__(self) -> None:
        layers = [stage.layer for stage in self.stages]
        if not layers or layers[0] != 0 or layers != sorted(set(layers)):
            raise PlanError(f"stage layers {layers}: must start at 0 and rise")

    @property
    def fresh(self) -> torch.Tensor:
        """What the last layers recompute, (n,) int64."""
        return self.stages[-1].fresh

    def rows_per_layer(self, layers: int, kept: int | None = None) -> list[int]:
        """Visual rows that enter each of ``layers`` decoder layers; ``kept`` once pruned.

        Raises PlanError where the plan begins something behind the last of them: it would not
        happen, and yet be reported.
        """
        deepest = max(self.stages[-1].layer, self.pruning.layer if self.pruning else 0)
        if deepest >= layers:
            raise PlanError(
                f"plan layer={deepest}: must be in 0..{layers - 1}, the decoder has {layers} layers"
            )
        counts: list[int] = []
        for index in range(layers):
            current = [stage for stage in self.stages if stage.layer <= index][-1]
            counts.append(int(current.fresh.shape[0]))
        if self.pruning is not None and kept is not None:
            counts[self.pruning.layer :] = [kept] * (layers - self.pruning.layer)
        return counts

    @classmethod
    def dense(cls, visual_tokens: int, device: torch.device | None = None) -> TokenPlan:
        """Everything recomputed, in every layer."""
        return cls((Stage(0, torch.arange(visual_tokens, device=device)),))

    @classmethod
    def reuse(cls, fresh: torch.Tensor, visual_tokens: int, from_layer: int = 0) -> TokenPlan:
        """``fresh`` recomputed everywhere; the rest kept from ``from_layer`` on."""
        if from_layer == 0:
            return cls((Stage(0, fresh),))
        every = torch.arange(visual_tokens, device=fresh.device)
        return cls((Stage(0, every), Stage(from_layer, fresh)))
