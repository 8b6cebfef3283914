# SPDX-License-Identifier: Apache-2.0
"""The networks of the embedded flow policy: a bidirectional prefix and an action expert.

As in pi0: pictures and words attend one another in the prefix, and a second transformer of equal
depth turns a noisy chunk of actions into a velocity, reading the prefix's keys and values layer
by layer. Nothing in here knows how the prefix's keys and values are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaModel,
    LlamaRMSNorm,
    apply_rotary_pos_emb,
)

from vla_infoentropy_ros.models.embedded.config import Architecture
from vla_infoentropy_ros.models.embedded.network import Projector, VisionTower, build_decoder

PERIODS = (4e-3, 4.0)
"""Shortest and longest period of the flow time's encoding, as in pi0."""


def time_encoding(time: torch.Tensor, width: int) -> torch.Tensor:
    """Flow times (...) in [0, 1] to (..., width): sines, then cosines."""
    share = torch.linspace(0.0, 1.0, width // 2, device=time.device)
    period = PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** share
    angle = time[..., None] * (2 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ActionExpert(nn.Module):
    """Velocity of a noisy chunk; one Llama layer for every layer of the prefix."""

    def __init__(self, config: LlamaConfig, horizon: int, action_size: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layers = nn.ModuleList(
            LlamaDecoderLayer(config, index) for index in range(config.num_hidden_layers)
        )
        self.norm = LlamaRMSNorm(width, eps=config.rms_norm_eps)
        self.place = nn.Parameter(torch.randn(horizon, width) * 0.1)
        self.action_in = nn.Linear(action_size, width)
        self.time_in = nn.Linear(2 * width, width)
        self.time_out = nn.Linear(width, width)
        self.action_out = nn.Linear(width, action_size)
        with torch.no_grad():
            self.action_out.weight.mul_(0.3)
            self.action_out.bias.zero_()

    def rows(self, actions: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """actions (B, S, H, a), S noisy chunks at flow times ``time`` (B, S), to the hidden states
        (B, S * H, d) that enter the first layer."""
        hidden = self.action_in(actions.to(self.action_in.weight.dtype)) + self.place
        moment = time_encoding(time, hidden.shape[-1]).to(hidden.dtype)
        merged = torch.cat([hidden, moment[:, :, None].expand_as(hidden)], dim=-1)
        entering: torch.Tensor = self.time_out(functional.silu(self.time_in(merged)))
        return entering.flatten(1, 2)

    def velocities(self, hidden: torch.Tensor) -> torch.Tensor:
        """What left the last layer (B, n, d) to velocities (B, n, a)."""
        velocity: torch.Tensor = self.action_out(self.norm(hidden))
        return velocity


class FlowNetwork(nn.Module):
    """All weights of the flow policy under one roof, named as in the weights file."""

    def __init__(
        self, sizes: Architecture, vocab_size: int, horizon: int, action_size: int
    ) -> None:
        super().__init__()
        self.vision = VisionTower(sizes)
        self.projector = Projector(sizes)
        self.decoder: LlamaModel = build_decoder(sizes, vocab_size).model
        self.expert = ActionExpert(self.decoder.config, horizon, action_size)

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) to visual embeddings (B, side * side, width)."""
        embedded: torch.Tensor = self.projector(self.vision(pixels))
        return embedded

    def prefix(self, inputs: torch.Tensor, positions: torch.Tensor) -> PrefixKeys:
        """The whole prefix, every row seeing every other; inputs (B, n, d), positions (B, n)."""
        kept = PrefixKeys()
        rotary = self.decoder.rotary_emb(inputs, positions)
        hidden = inputs
        for layer in list(self.decoder.layers)[:-1]:
            hidden = layer(
                hidden, position_embeddings=rotary, past_key_values=kept, is_causal=False
            )
        # Behind the last keys and values nothing of the prefix is read any more.
        final: Any = self.decoder.layers[-1]
        last, hidden = final.self_attn, final.input_layernorm(hidden)
        shape = (*hidden.shape[:2], -1, last.head_dim)
        keys = last.k_proj(hidden).view(shape).transpose(1, 2)
        keys = apply_rotary_pos_emb(keys, keys, *rotary)[0]
        kept.update(keys, last.v_proj(hidden).view(shape).transpose(1, 2), last.layer_idx)
        return kept


class PrefixKeys:
    """Keys and values of a dense prefix, (B, heads, n, d_head) a layer, in order of the layers."""

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by transformers' attention while the prefix runs."""
        self.layers.append((keys, values))
        return keys, values

    def narrow(self, columns: slice) -> PrefixKeys:
        """Those rows of the prefix alone."""
        part = PrefixKeys()
        part.layers = [(k[:, :, columns], v[:, :, columns]) for k, v in self.layers]
        return part

    def behind(self) -> BehindPrefix:
        """For the expert."""
        return BehindPrefix(self.layers)


class BehindPrefix:
    """Gives the expert's attention the prefix's keys and values before its own, keeping none."""

    def __init__(self, layers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._layers = layers

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by transformers' attention while the expert runs."""
        before_keys, before_values = self._layers[layer]
        return torch.cat([before_keys, keys], dim=2), torch.cat([before_values, values], dim=2)
