# SPDX-License-Identifier: Apache-2.0
"""A policy small enough to compare every number: random weights, real transformers Llama."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from vla_infoentropy_ros.engine.heads import TokenHead
from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.models.adapter import (
    Action,
    ActionConvention,
    PolicyError,
    PromptTokens,
    VisionInput,
)

VOCABULARY = 64


class TinyPolicy:
    """4x4 visual tokens of 4x4 pixels; words are the letters a-z. fp32 or bf16, with or without
    grouped queries."""

    name, revision, norm_key = "tiny", "random", "none"
    bos_token_id, proprioception = 1, None
    convention = ActionConvention("rpy", "one_is_open", "base", 0.2)

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float32, kv_heads: int = 4,
                 layers: int = 4, views: int = 1, grid: tuple[int, int] = (4, 4),
                 scale: float = 0.5) -> None:
        torch.manual_seed(seed)
        self.views, self.grid = views, grid
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=kv_heads, max_position_embeddings=2048,
            initializer_range=scale,
        )
        self.decoder = LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)
        self.backbone, self.head = self.decoder.model, TokenHead(self.decoder.lm_head, 7)
        self._stem = (torch.randn(48, 32) * 0.5).to(dtype)
        self._codec = ActionCodec(VOCABULARY, bins=32)

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        size = (self.grid[0] * 4, self.grid[1] * 4, 3)
        if len(images) != self.views or any(image.ndim != 3 for image in images):
            raise PolicyError(f"{len(images)} images: the tiny policy takes {self.views}")
        image = torch.from_numpy(
            np.stack([np.resize(image, size).astype(np.uint8) for image in images])
        )
        return VisionInput(image, image.permute(0, 3, 1, 2).float() / 255)

    def tokenize(self, instruction: str) -> PromptTokens:
        letters = [ord(letter) - ord("a") + 2 for letter in instruction.lower() if letter.isalpha()]
        if not letters:
            raise PolicyError("empty instruction")
        ids = torch.tensor([*letters, 28])
        return PromptTokens(ids, torch.tensor([True] * len(letters) + [False]))

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        views, channels, height, width = pixels.shape
        split = pixels.reshape(views, channels, height // 4, 4, width // 4, 4)
        flat = split.permute(0, 2, 4, 3, 5, 1).reshape(-1, 48)
        return flat.to(self._stem.dtype) @ self._stem

    def decode_action(self, token_ids: Sequence[int]) -> Action:
        values = self._codec.decode(token_ids)
        return Action(values, values, tuple(token_ids))


def frames(count: int, seed: int = 0, changed: int = 40, side: int = 16) -> list[NDArray[np.uint8]]:
    """A random picture of which ``changed`` random bytes differ from frame to frame."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    result = []
    for _ in range(count):
        image = image.copy()
        image.reshape(-1)[rng.integers(0, image.size, changed)] = rng.integers(0, 256, changed)
        result.append(image)
    return result
