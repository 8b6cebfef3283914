# SPDX-License-Identifier: Apache-2.0
"""The KV cache: one slot per position, written where the caller says, read as a whole."""

from __future__ import annotations

import torch
from transformers import LlamaConfig

from vla_infoentropy_ros.engine.shape import LlamaShape


class SlotCache:
    """Keys and values of every layer in fixed slots; slot == position in the sequence. A pass
    writes the rows that it computed and attends to all, those of this step and those kept."""

    def __init__(
        self, config: LlamaConfig, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        of = LlamaShape.of(config)
        shape = (of.layers, 1, of.key_heads, capacity, of.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def clear(self) -> None:
        """Forget everything. A masked key weighs 0, but 0 times NaN is NaN: what nobody may look
        at must still be a number."""
        self.keys.zero_()
        self.values.zero_()

    def write(
        self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """keys, values: (1, Hkv, n, d_head), into ``slots`` (n,)."""
        self.keys[layer].index_copy_(2, slots, keys)
        self.values[layer].index_copy_(2, slots, values)

    def read(self, layer: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first ``length`` slots, (1, Hkv, length, d_head) each."""
        return self.keys[layer, :, :, :length], self.values[layer, :, :, :length]
