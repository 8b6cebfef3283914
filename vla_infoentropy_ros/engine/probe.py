# SPDX-License-Identifier: Apache-2.0
"""Reading attention without asking the model for attention maps.

While a step runs, SDPA computes the output as always; the probe only writes down the queries of
the text and action rows. The keys stand in the slot cache anyway, so one batched softmax after
the step yields the attention of all probed layers at once. This costs a handful of kernels a
step instead of a handful a layer and pass, which is what counts at batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vla_infoentropy_ros.engine.plan import PlanError
from vla_infoentropy_ros.engine.slot_cache import SlotCache


@dataclass(frozen=True)
class AttentionNeeds:
    """What a selector wants to read of the step before.

    layers: decoder layers, or None for all of them; () for no attention at all. action: also what
    the action rows attended to.
    """

    layers: tuple[int, ...] | None = ()
    action: bool = False

    def resolve(self, depth: int) -> tuple[int, ...]:
        """The layer indices for a decoder of ``depth`` layers. Raises PlanError for one beyond."""
        wanted = tuple(range(depth)) if self.layers is None else self.layers
        if beyond := [index for index in wanted if not 0 <= index < depth]:
            raise PlanError(
                f"attention of layer {beyond[0]}: must be of 0..{depth - 1}, those of the decoder"
            )
        return wanted


@dataclass(frozen=True)
class Attention:
    """Post-softmax attention to the visual tokens, mean over heads, of one executed step.

    layers: the probed layer indices, L of them. text: (L, T, N) float32, rows of the text
    tokens. action: (L, A', N) float32, the action rows that were asked for: of action tokens
    those that were fed back, all but the last; of a flow the expert's, in its last Euler step.
    """

    layers: tuple[int, ...]
    text: torch.Tensor
    action: torch.Tensor


class QueryTape:
    """Queries of the rows behind the visual tokens, for every probed layer, pass by pass.

    They are held as they were computed and put together when they are read, once a step, instead
    of being copied layer by layer. layers: which are probed. first: position of the first row.
    numbers: (L,) int64, the layers where the keys are, so that no step waits to send them there.
    """

    def __init__(self, layers: tuple[int, ...], first: int, device: torch.device) -> None:
        self.layers, self.first = layers, first
        self.numbers = torch.tensor(layers, dtype=torch.int64, device=device)
        self.latest: torch.Tensor | None = None  # (1, H, n, d_head): queries of the last layer run
        self._probed = frozenset(layers)
        self._passes: list[tuple[int, list[torch.Tensor]]] = []  # first row, (H, n, d_head) each
        self._rows = 0

    def aim(self, start: int, end: int) -> None:
        """The last rows of the coming pass stand at positions ``start`` .. ``end`` - 1; what
        earlier passes computed from there on is forgotten."""
        self._passes = [each for each in self._passes if each[0] < start]
        self._passes.append((start, []))
        self._rows = end - start

    def record(self, layer: int, query: torch.Tensor) -> None:
        """query: (1, H, n, d_head) of one pass, rotary embedding applied."""
        self.latest = query
        if layer in self._probed:
            self._passes[-1][1].append(query[0, :, -self._rows :])

    def queries(self, rows: int) -> torch.Tensor:
        """(L, H, rows, d_head), the first ``rows`` rows of every probed layer."""
        starts = [start - self.first for start, _ in self._passes]
        parts = [
            torch.stack(computed)[:, :, : min(end, rows) - start]
            for (_, computed), start, end in zip(
                self._passes, starts, [*starts[1:], rows], strict=True)
            if start < rows
        ]
        return torch.cat(parts, 2) if len(parts) > 1 else parts[0]

    def read(self, cache: SlotCache, mask: torch.Tensor, visual: slice) -> torch.Tensor:
        """Attention (L, R', N) float32, mean over heads, of the first R' = len(mask) rows.

        mask: (R', length) bool or (L, R', length), true where a row may look.
        """
        rows, length = mask.shape[-2:]
        every = len(self.layers) == cache.keys.shape[0]
        keys = cache.keys if every else cache.keys[self.numbers]  # the latter copies
        return attention_to(self.queries(rows), keys[:, 0, :, :length], mask, visual)


def attention_to(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor, visual: slice
) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) under ``mask``, mean over heads, columns ``visual``.

    queries: (L, H, R, d); keys: (L, Hkv, S, d) with H a multiple of Hkv (grouped queries);
    mask: (R, S) or (L, R, S) bool. Returns (L, R, N) float32. The softmax runs over all S keys.
    """
    layers, heads, rows, dim = queries.shape
    groups = heads // keys.shape[1]
    # Scaled before the product, which in half precision would overflow, and in float32 all along:
    # what ranks tokens must not turn on the last of bfloat16's eight bits.
    grouped = queries.reshape(layers, keys.shape[1], groups * rows, dim).float() * dim**-0.5
    scores = (grouped @ keys.float().transpose(-1, -2)).view(layers, heads, rows, -1)
    allowed = mask if mask.dim() == 2 else mask[:, None]
    weights = scores.masked_fill_(~allowed, float("-inf")).softmax(-1)
    return weights.mean(1)[..., visual]
