# SPDX-License-Identifier: Apache-2.0
"""The KV cache: one slot per position, written where the caller says, read as a whole."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig


class SlotCache:
    """Keys and values of every layer in fixed slots; slot == position in the sequence.

    `update` has the signature that transformers' attention layers call, so an unmodified
    LlamaModel writes the rows it computed into ``slots`` and attends to all ``length`` slots,
    those of this step and those kept from the last.
    """

    def __init__(
        self, config: LlamaConfig, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        heads = config.num_key_value_heads or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        shape = (config.num_hidden_layers, 1, heads, capacity, head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.slots = torch.zeros(0, dtype=torch.int64, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def clear(self) -> None:
        """Forget everything. A masked key weighs 0, but 0 times NaN is NaN: what nobody may look
        at must still be a number."""
        self.keys.zero_()
        self.values.zero_()

    def aim(self, slots: torch.Tensor, length: int) -> None:
        """Following updates write rows into ``slots`` (n,) and return the first ``length``."""
        self.slots, self.length = slots, length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int,
        *args: Any, **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """key_states, value_states: (1, Hkv, n, d_head) -> (1, Hkv, length, d_head) each."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys.index_copy_(2, self.slots, key_states)
        values.index_copy_(2, self.slots, value_states)
        return keys[:, :, : self.length], values[:, :, : self.length]
