# SPDX-License-Identifier: Apache-2.0
"""Between action tokens, normalised values and robot units (OpenVLA's binning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_infoentropy_ros.foreign.text import UserError


class ActionError(UserError, ValueError):
    """An action or its statistics cannot be used as given."""


@dataclass(frozen=True)
class ActionCodec:
    """Tokens at the end of a vocabulary, one per bin of [-1, 1].

    The bin edges are ``linspace(-1, 1, bins)``; values are the ``bins - 1`` centres between them.
    Token ``vocab_size - 1`` is bin 0 and lower ids are higher bins, so that
    ``index = clip(vocab_size - 1 - id, 0, bins - 2)`` as OpenVLA does. ``vocab_size`` is that of
    the tokenizer, never the padded one of the weights.
    """

    vocab_size: int
    bins: int = 256
    centres: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.bins < 2 or self.vocab_size <= self.bins:
            raise ActionError(
                f"vocab_size={self.vocab_size}, bins={self.bins}: need 2 <= bins < vocab_size"
            )
        edges = np.linspace(-1.0, 1.0, self.bins)
        object.__setattr__(self, "centres", (edges[:-1] + edges[1:]) / 2.0)

    def decode(self, token_ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Token ids (n,) to normalised values (n,) in [-1, 1]; any other id becomes the nearest
        end, which :meth:`require_actions` is there to refuse."""
        index = self.vocab_size - 1 - np.asarray(token_ids, dtype=np.int64)
        return self.centres[np.clip(index, 0, self.bins - 2)]

    def require_actions(self, token_ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Raises ActionError where a token (n,) is none of the last ``bins`` of the vocabulary:
        the network says a word, and the end of an axis is no guess for a robot."""
        for place, token in enumerate(token_ids):
            if not self.vocab_size - self.bins <= token < self.vocab_size:
                raise ActionError(
                    f"action token {place} is {token}, a word: actions are tokens "
                    f"{self.vocab_size - self.bins} to {self.vocab_size - 1}; does the policy know "
                    "this camera and this instruction?"
                )

    def encode(self, values: ArrayLike) -> NDArray[np.int64]:
        """Normalised values, any shape, to the ids of their nearest bins; clips to [-1, 1]."""
        clipped = np.clip(np.asarray(values, dtype=np.float64), -1.0, 1.0)
        edges = np.linspace(-1.0, 1.0, self.bins)
        index = np.clip(np.digitize(clipped, edges) - 1, 0, self.bins - 2)
        return self.vocab_size - 1 - index


@dataclass(frozen=True)
class ActionStats:
    """Quantiles that map normalised values to robot units.

    Where ``mask`` is true, ``q01 + (x + 1) / 2 * (q99 - q01)``; elsewhere the value passes
    through (the gripper). All arrays (dof,).
    """

    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not (self.q01.shape == self.q99.shape == self.mask.shape and self.q01.ndim == 1):
            raise ActionError(
                f"action statistics disagree in length: q01 {self.q01.shape}, "
                f"q99 {self.q99.shape}, mask {self.mask.shape}"
            )
        if not (np.isfinite(self.q01).all() and np.isfinite(self.q99).all()):
            raise ActionError("action statistics q01/q99 hold NaN or infinity")
        if np.any(self.q99[self.mask] < self.q01[self.mask]):
            raise ActionError("action statistics have q99 < q01; are the two swapped?")

    @classmethod
    def from_mapping(cls, stats: Mapping[str, Any]) -> ActionStats:
        """From the ``action`` entry of a checkpoint's ``norm_stats``; ``mask`` defaults to true."""
        missing = [key for key in ("q01", "q99") if key not in stats]
        if missing:
            raise ActionError(f"action statistics lack {missing}; found {sorted(stats)}")
        q01 = np.asarray(stats["q01"], dtype=np.float64)
        mask = np.asarray(stats.get("mask", np.ones(q01.shape, dtype=bool)), dtype=bool)
        return cls(q01, np.asarray(stats["q99"], dtype=np.float64), mask)

    def unnormalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised values (dof,) to robot units (dof,)."""
        if values.shape != self.q01.shape:
            raise ActionError(f"{values.shape[0]} action values, but statistics for {self.dof}")
        scaled = self.q01 + (values + 1.0) / 2.0 * (self.q99 - self.q01)
        return np.where(self.mask, scaled, values)

    def normalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Robot units (dof,) to normalised values (dof,); not clipped."""
        span = np.where(self.q99 > self.q01, self.q99 - self.q01, 1.0)
        return np.where(self.mask, 2.0 * (values - self.q01) / span - 1.0, values)

    @property
    def dof(self) -> int:
        return int(self.q01.shape[0])
