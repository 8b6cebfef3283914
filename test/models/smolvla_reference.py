# SPDX-License-Identifier: Apache-2.0
"""SmolVLA by the paper's equations over a checkpoint's tensors: whole sequences, no cache, explicit
masks, attention written out. It shares no code with the package but the picture's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vla_infoentropy_ros.models.smolvla.config import SmolVLAConfig

Weights = dict[str, torch.Tensor]
EXPERT, VLM = "model.vlm_with_expert.lm_expert.layers", "model.vlm_with_expert.vlm.model"


@dataclass(frozen=True)
class Reference:
    config: SmolVLAConfig
    weights: Weights

    def chunk(
        self, pixels: torch.Tensor, ids: list[int], state: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """pixels (V, 3, H, W), token ids, a normalised state (S,) and noise (H, a) to (H, a)."""
        config, chunk = self.config, noise
        keys = self.prefix(pixels, ids, state)
        for step in range(config.flow.euler_steps):
            time = 1.0 - step / config.flow.euler_steps
            chunk = chunk - self.velocity(chunk, time, keys) / config.flow.euler_steps
        return chunk

    def prefix(
        self, pixels: torch.Tensor, ids: list[int], state: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Rotated keys and values (P, Hkv, d_head) of every layer."""
        width = self.config.text.width
        visual = torch.cat([self._visual(picture) for picture in pixels]) * math.sqrt(width)
        words = self.weights[f"{VLM}.text_model.embed_tokens.weight"][ids] * math.sqrt(width)
        padded = F.pad(state, (0, self.config.flow.state_size - len(state)))
        rows = torch.cat([visual, words, self._linear("model.state_proj", padded)[None]])
        sees = torch.ones(len(rows), len(rows), dtype=torch.bool)
        sees[:-1, -1] = False  # nobody but itself sees the state
        kept = []
        for index in range(self.config.layers):
            name = f"{VLM}.text_model.layers.{index}"
            normed = self._norm(f"{name}.input_layernorm", rows)
            places = torch.arange(len(rows))
            query, key, value = (self._heads(f"{name}.self_attn.{p}_proj", normed) for p in "qkv")
            query, key = rotate(query, places), rotate(key, places)
            kept.append((key, value))
            rows = self._layer(name, rows, attend(query, key, value, sees))
        return kept

    def velocity(
        self, chunk: torch.Tensor, time: float, kept: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        count, prefix = len(chunk), len(kept[0][0])
        rows = self._entering(chunk, time)
        causal = torch.ones(count, count, dtype=torch.bool).tril()
        sees = torch.cat([torch.ones(count, prefix, dtype=torch.bool), causal], dim=1)
        for index, (keys, values) in enumerate(kept):
            name = f"{EXPERT}.{index}"
            normed = self._norm(f"{name}.input_layernorm", rows)
            query = self._heads(f"{name}.self_attn.q_proj", normed)
            if index % 2:  # reads the prefix alone, through projections of its own
                key = self._heads(f"{name}.self_attn.k_proj", keys.flatten(1))
                value = self._heads(f"{name}.self_attn.v_proj", values.flatten(1))
                mixed = attend(rotate(query, torch.arange(count)), key, value, sees[:, :prefix])
            else:
                places = torch.arange(prefix, prefix + count)
                key = rotate(self._heads(f"{name}.self_attn.k_proj", normed), places)
                value = self._heads(f"{name}.self_attn.v_proj", normed)
                mixed = attend(rotate(query, places), torch.cat([keys, key]),
                               torch.cat([values, value]), sees)
            rows = self._layer(name, rows, mixed)
        rows = self._norm("model.vlm_with_expert.lm_expert.norm", rows)
        return self._linear("model.action_out_proj", rows)

    def _entering(self, chunk: torch.Tensor, time: float) -> torch.Tensor:
        moved = self._linear("model.action_in_proj", chunk)
        half = moved.shape[1] // 2
        short, long = self.config.flow.periods
        periods = [short * (long / short) ** (i / (half - 1)) for i in range(half)]
        angles = torch.tensor([2 * math.pi * time / period for period in periods],
                              dtype=torch.float64)
        moment = torch.cat([angles.sin(), angles.cos()]).float().expand_as(moved)
        hidden = self._linear("model.action_time_mlp_in", torch.cat([moved, moment], dim=1))
        return self._linear("model.action_time_mlp_out", F.silu(hidden))

    def _visual(self, picture: torch.Tensor) -> torch.Tensor:
        """(3, H, W) to (tokens, d): patches, blocks, squares of patches side by side."""
        sizes, name = self.config.vision, f"{VLM}.vision_model"
        kernel = self.weights[f"{name}.embeddings.patch_embedding.weight"]
        bias = self.weights[f"{name}.embeddings.patch_embedding.bias"]
        rows = F.conv2d(picture[None], kernel, bias, stride=sizes.patch)[0].flatten(1).T
        rows = rows + self.weights[f"{name}.embeddings.position_embedding.weight"]
        everyone = torch.ones(len(rows), len(rows), dtype=torch.bool)
        for index in range(sizes.layers):
            block = f"{name}.encoder.layers.{index}"
            normed = self._layer_norm(f"{block}.layer_norm1", rows)
            query, key, value = (
                self._linear(f"{block}.self_attn.{p}_proj", normed).unflatten(1, (sizes.heads, -1))
                for p in "qkv"
            )
            mixed = attend(query, key, value, everyone)
            rows = rows + self._linear(f"{block}.self_attn.out_proj", mixed)
            normed = self._layer_norm(f"{block}.layer_norm2", rows)
            hidden = F.gelu(self._linear(f"{block}.mlp.fc1", normed), approximate="tanh")
            rows = rows + self._linear(f"{block}.mlp.fc2", hidden)
        rows = self._layer_norm(f"{name}.post_layernorm", rows)
        edge, side = sizes.shuffle, sizes.side
        grid = rows.view(side, edge, side, edge, -1).permute(0, 2, 1, 3, 4)
        return self._linear(
            f"{VLM}.connector.modality_projection.proj", grid.reshape(side * side, -1)
        )

    def _layer(self, name: str, rows: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        rows = rows + self._linear(f"{name}.self_attn.o_proj", mixed)
        normed = self._norm(f"{name}.post_attention_layernorm", rows)
        gate = F.silu(self._linear(f"{name}.mlp.gate_proj", normed))
        return rows + self._linear(
            f"{name}.mlp.down_proj", gate * self._linear(f"{name}.mlp.up_proj", normed)
        )

    def _heads(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self._linear(name, rows).unflatten(1, (-1, self.config.text.head_width))

    def _linear(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return F.linear(rows, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        scale = (rows.square().mean(-1, keepdim=True) + self.config.text.epsilon).rsqrt()
        return rows * scale * self.weights[f"{name}.weight"]

    def _layer_norm(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(rows, weight.shape, weight, bias, eps=1e-6)


def rotate(heads: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(n, heads, d_head) turned by their places, base 10,000, halves together."""
    half = heads.shape[2] // 2
    angles = places[:, None] / 10_000.0 ** (torch.arange(half) / half)
    sin, cos = angles.sin()[:, None], angles.cos()[:, None]
    first, second = heads[..., :half], heads[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=2)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sees: torch.Tensor
) -> torch.Tensor:
    """(n, heads, d) over (m, Hkv, d) to (n, heads * d)."""
    times = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(times, dim=1) for part in (key, value))
    scores = torch.einsum("nhd,mhd->hnm", query, key) / math.sqrt(query.shape[2])
    weights = scores.masked_fill(~sees, float("-inf")).softmax(-1)
    return torch.einsum("hnm,mhd->nhd", weights, value).flatten(1)
