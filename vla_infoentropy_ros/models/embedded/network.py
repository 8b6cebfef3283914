# SPDX-License-Identifier: Apache-2.0
"""The networks: a small vision tower with its projector, and an unmodified Llama decoder."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from vla_infoentropy_ros.models.embedded.config import Architecture


def grid_encoding(side: int, width: int) -> torch.Tensor:
    """Two-dimensional sine-cosine encoding (side * side, width), rows in raster order."""
    quarter = width // 4
    scale = torch.exp(torch.arange(quarter) * (-math.log(40.0) / max(quarter - 1, 1))) * math.pi
    line = (torch.arange(side) + 0.5) / side
    wave = line[:, None] * scale[None, :] * 4
    wave = torch.cat([wave.sin(), wave.cos()], dim=1)  # (side, width / 2)
    rows = wave[:, None, :].expand(side, side, -1)
    columns = wave[None, :, :].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)


class VisionBlock(nn.Module):
    """Pre-norm transformer block over all visual tokens, bidirectional."""

    def __init__(self, width: int, heads: int, ff: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, ff)
        self.down = nn.Linear(ff, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, width) to tokens (B, N, width)."""
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm_attention(tokens))
        query, key, value = (
            part.view(batch, count, self.heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        hidden = functional.gelu(self.up(self.norm_mlp(tokens)))
        return tokens + self.down(hidden)


class VisionTower(nn.Module):
    """Pictures to visual tokens: a convolutional stem of stride 14, then transformer blocks.

    The stem works at half the patch size first, so that a token knows where inside its patch an
    edge lies; a cube is little wider than one patch.
    """

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        half = sizes.patch // 2
        self.stem_patch = nn.Conv2d(3, sizes.stem_width, half, stride=half)
        self.stem_mix = nn.Conv2d(sizes.stem_width, 2 * sizes.stem_width, 3, padding=1)
        self.stem_merge = nn.Conv2d(2 * sizes.stem_width, sizes.vision_width, 2, stride=2)
        self.position = nn.Parameter(grid_encoding(sizes.side, sizes.vision_width))
        self.blocks = nn.ModuleList(
            VisionBlock(sizes.vision_width, sizes.vision_heads, sizes.vision_ff)
            for _ in range(sizes.vision_blocks)
        )
        self.norm = nn.LayerNorm(sizes.vision_width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to tokens (B, side * side, vision_width)."""
        features = functional.gelu(self.stem_patch(pixels))
        features = functional.gelu(self.stem_mix(features))
        tokens = self.stem_merge(features).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        normed: torch.Tensor = self.norm(tokens)
        return normed


class Projector(nn.Module):
    """Visual tokens into the decoder's embedding space."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.up = nn.Linear(sizes.vision_width, sizes.projector_width)
        self.down = nn.Linear(sizes.projector_width, sizes.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, vision_width) to embeddings (B, N, width)."""
        projected: torch.Tensor = self.down(functional.gelu(self.up(tokens)))
        return projected


def build_decoder(sizes: Architecture, vocab_size: int) -> LlamaForCausalLM:
    """The decoder with fresh weights; plain multi-head attention, untied output."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=sizes.width,
        intermediate_size=sizes.ff,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
    )
    decoder = LlamaForCausalLM(config)
    with torch.no_grad():
        # Token and visual embeddings should start at the same scale, and the residual stream
        # should not grow with depth; at this size both speed learning up noticeably.
        decoder.model.embed_tokens.weight.normal_(0.0, 0.3)
        for layer in decoder.model.layers:
            layer.self_attn.o_proj.weight.mul_((2 * sizes.layers) ** -0.5)
            layer.mlp.down_proj.weight.mul_((2 * sizes.layers) ** -0.5)
    return decoder


class EmbeddedNetwork(nn.Module):
    """All weights of the policy under one roof, named as in the weights file."""

    def __init__(self, sizes: Architecture, vocab_size: int) -> None:
        super().__init__()
        self.vision = VisionTower(sizes)
        self.projector = Projector(sizes)
        self.decoder = build_decoder(sizes, vocab_size)

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) to visual embeddings (B, side * side, width)."""
        embedded: torch.Tensor = self.projector(self.vision(pixels))
        return embedded
