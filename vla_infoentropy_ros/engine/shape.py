# SPDX-License-Identifier: Apache-2.0
"""The sizes of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import LlamaConfig


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a Llama decoder; key_heads < heads is grouped-query attention."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int

    @classmethod
    def of(cls, config: LlamaConfig) -> LlamaShape:
        heads = int(config.num_attention_heads)
        return cls(
            width=int(config.hidden_size),
            mlp_width=int(config.intermediate_size),
            layers=int(config.num_hidden_layers),
            heads=heads,
            key_heads=int(config.num_key_value_heads or heads),
            head_width=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            vocabulary=int(config.vocab_size),
        )
