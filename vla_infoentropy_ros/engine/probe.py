# SPDX-License-Identifier: Apache-2.0
"""Reading attention without asking the model for attention maps.

While a step runs, SDPA computes the output as always; the probe only writes down the queries of
the text and action rows. The keys stand in the slot cache anyway, so one batched softmax after
the step yields the attention of all probed layers at once. This costs a handful of kernels a
step instead of a handful a layer and pass, which is what counts at batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vla_infoentropy_ros.engine.requirements import check_transformers
from vla_infoentropy_ros.engine.slot_cache import SlotCache

check_transformers()  # before the names below, which other releases lack

from transformers import AttentionInterface, LlamaConfig  # noqa: E402
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402

BACKEND = "vla_query_tape"


@dataclass(frozen=True)
class AttentionNeeds:
    """What a selector wants to read of the step before.

    layers: decoder layers, or None for all of them; () for no attention at all.
    """

    layers: tuple[int, ...] | None = ()

    def resolve(self, depth: int) -> tuple[int, ...]:
        """The layer indices for a decoder of ``depth`` layers; those beyond it fall away."""
        wanted = range(depth) if self.layers is None else self.layers
        return tuple(index for index in wanted if 0 <= index < depth)


@dataclass(frozen=True)
class Attention:
    """Post-softmax attention to the visual tokens, mean over heads, of one executed step.

    layers: the probed layer indices, L of them. text: (L, T, N) float32, rows of the text
    tokens. action: (L, A', N) float32, the action rows that were asked for; of action tokens
    those that were fed back, all but the last.
    """

    layers: tuple[int, ...]
    text: torch.Tensor
    action: torch.Tensor


class QueryTape:
    """Queries of the rows behind the visual tokens, for every probed layer.

    One buffer (L, H, R, d_head) with R = text + action rows; a row rewritten by a later pass
    (a draft window) overwrites what stood there.
    """

    def __init__(
        self, config: LlamaConfig, layers: tuple[int, ...], first: int, rows: int,
        *, device: torch.device, dtype: torch.dtype,
    ) -> None:
        head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.first = first
        self.layers = layers
        self._index = {layer: index for index, layer in enumerate(layers)}
        self._queries = torch.zeros(
            (len(layers), config.num_attention_heads, rows, head_dim), device=device, dtype=dtype
        )
        self._tail = torch.zeros(0, dtype=torch.int64, device=device)
        self.latest: torch.Tensor | None = None  # (1, H, n, d_head): queries of the last layer run

    def aim(self, tail: torch.Tensor) -> None:
        """The last rows of the coming pass stand at positions ``tail`` (n,), all >= first."""
        self._tail = tail - self.first

    def record(self, layer: int, query: torch.Tensor) -> None:
        """query: (1, H, n, d_head) of one pass, rotary embedding applied."""
        self.latest = query
        index = self._index.get(layer)
        if index is not None:
            self._queries[index].index_copy_(1, self._tail, query[0, :, -self._tail.shape[0] :])

    def read(self, cache: SlotCache, mask: torch.Tensor, visual: slice) -> torch.Tensor:
        """Attention (L, R', N) float32, mean over heads, of the first R' = len(mask) rows.

        mask: (R', length) bool or (L, R', length), true where a row may look.
        """
        rows, length = mask.shape[-2:]
        every = len(self.layers) == cache.keys.shape[0]
        keys = cache.keys if every else cache.keys[list(self.layers)]  # the latter copies
        return attention_to(self._queries[:, :, :rows], keys[:, 0, :, :length], mask, visual)


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


def _sdpa_with_tape(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, query_tape: Any = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    if query_tape is not None:
        query_tape.record(module.layer_idx, query)
        # Here the mask says who sees whom: without one, everything. Whoever else runs the model,
        # without a tape, has it causal as it came.
        kwargs["is_causal"] = False
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(BACKEND, _sdpa_with_tape)
