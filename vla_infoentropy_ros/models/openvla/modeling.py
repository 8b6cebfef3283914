# SPDX-License-Identifier: Apache-2.0
"""OpenVLA as plain modules; parameter names are those of the published openvla-7b checkpoint.

What the policy never runs has no module here: the last block, the final norm and the pooling
head of the towers, whose features are taken behind the second-to-last block.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM

from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig, TowerConfig

LAYER_NORM_EPS = 1e-6  # both towers, as in timm


class Attention(nn.Module):
    """Full self-attention over all rows, queries, keys and values in one projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(V, n, width) to the same shape."""
        views, rows, width = x.shape
        packed = self.qkv(x).reshape(views, rows, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(views, rows, width))


class Mlp(nn.Module):
    """Two layers with the exact (error function) GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor per channel. The checkpoint says ``scale_factor``, since transformers
    used to rename parameters called ``gamma``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale_factor


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.attn = Attention(config.width, config.heads)
        self.ls1 = LayerScale(config.width) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(config.width, config.mlp_width)
        self.ls2 = LayerScale(config.width) if config.layer_scale else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Patches to rows, by a convolution whose stride is its kernel."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W) to (V, patches, width), row by row from the top left."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class VisionTower(nn.Module):
    """A vision transformer up to and including its second-to-last block."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config.patch_size, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.side**2, config.width))
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        if config.register_tokens:
            self.reg_token = nn.Parameter(torch.zeros(1, config.register_tokens, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth - 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W) normalised to patch features (V, patches, width), not normed."""
        x = self.patch_embed(pixels) + self.pos_embed  # prefix rows carry no position
        prefix = []
        if self.config.class_token:
            prefix.append(self.cls_token.expand(x.shape[0], -1, -1))
        if self.config.register_tokens:
            prefix.append(self.reg_token.expand(x.shape[0], -1, -1))
        if prefix:
            x = torch.cat([*prefix, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, x.shape[1] - self.config.side**2 :]


class VisionBackbone(nn.Module):
    """DINOv2 and SigLIP over the same image, features side by side."""

    def __init__(self, towers: tuple[TowerConfig, TowerConfig]) -> None:
        super().__init__()
        self.featurizer = VisionTower(towers[0])
        self.fused_featurizer = VisionTower(towers[1])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 6, H, W), three channels for each tower, to (V, patches, sum of widths)."""
        dino, siglip = pixels.split(3, dim=1)
        return torch.cat([self.featurizer(dino), self.fused_featurizer(siglip)], dim=2)


class Projector(nn.Module):
    """Vision features to the language model's embedding space."""

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_width, 4 * vision_width)
        self.fc2 = nn.Linear(4 * vision_width, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(V, patches, vision width) to (V, patches, d)."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(features)))))


class OpenVLAModel(nn.Module):
    """The whole network; ``language_model`` is transformers' own LlamaForCausalLM."""

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.vision_backbone = VisionBackbone(config.towers)
        vision_width = config.towers[0].width + config.towers[1].width
        self.projector = Projector(vision_width, int(config.llama.hidden_size))
        self.language_model = LlamaForCausalLM(config.llama)

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 6, H, W) to visual embeddings (V, patches, d)."""
        return self.projector(self.vision_backbone(pixels))


def published_name(name: str) -> str:
    """Without the prefix that a merged LoRA or a wrapped model leaves, and with the published
    name of a layer scale."""
    name = name.removeprefix("module.").removeprefix("base_model.model.")
    return re.sub(r"\.(ls[12])\.gamma$", r".\1.scale_factor", name)


def unused_parameters(config: OpenVLAConfig) -> str:
    """Names that a published checkpoint holds and this module, on purpose, does not."""
    dino, siglip = (tower.depth - 1 for tower in config.towers)
    return (
        rf"vision_backbone\.featurizer\.(blocks\.{dino}\.|norm\.|head\.)"
        rf"|vision_backbone\.fused_featurizer\.(blocks\.{siglip}\.|norm\.|attn_pool\.|head\.)"
        r"|.*\.rotary_emb\.inv_freq$"
    )
