# SPDX-License-Identifier: Apache-2.0
"""OpenVLA's shapes with random weights: times and launches without a file of 15 GB.

Its actions mean nothing, so benchmarks alone can ask for it: no node loads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.heads import ActionHead, TokenHead
from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import (
    Action,
    ActionConvention,
    PolicyError,
    PromptTokens,
    VisionInput,
)
from vla_infoentropy_ros.models.environment import TORCH_DTYPES, parse_device
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig, TowerConfig
from vla_infoentropy_ros.models.openvla.modeling import OpenVLAModel
from vla_infoentropy_ros.models.preprocessing import Preprocessing

# openvla-7b's config.json, as far as shapes go.
OPENVLA_7B = {"model_type": "openvla", "text_config": {"vocab_size": 32064}}
PREFIX = "random:"
_NAME = re.compile(r"random:openvla-7b(?:/(1|2|4|8|16))?")
_TEMPLATE = 14  # text tokens around the instruction


def is_random(model: str) -> bool:
    """Whether ``model`` names random weights."""
    return model.startswith(PREFIX)


def shapes(name: str) -> OpenVLAConfig:
    """``random:openvla-7b``, or with every width divided, depths kept: ``random:openvla-7b/16``.

    Raises PolicyError, with the names there are, for any other.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise PolicyError(
            f"model={name!r}: random weights exist as {PREFIX}openvla-7b, and with its widths "
            f"divided by 2, 4, 8 or 16 as {PREFIX}openvla-7b/16"
        )
    divisor = int(match[1] or 1)
    published = OpenVLAConfig.from_mapping(OPENVLA_7B)
    llama = published.llama
    text = {
        "vocab_size": int(llama.vocab_size), "hidden_size": int(llama.hidden_size) // divisor,
        "intermediate_size": int(llama.intermediate_size) // divisor,
        "num_attention_heads": int(llama.num_attention_heads) // divisor,
    }
    config = OpenVLAConfig.from_mapping(OPENVLA_7B | {"text_config": text})
    dino, siglip = (_narrowed(tower, divisor) for tower in published.towers)
    return replace(config, towers=(dino, siglip))


def _narrowed(tower: TowerConfig, divisor: int) -> TowerConfig:
    return replace(tower, width=tower.width // divisor, heads=tower.heads // divisor,
                   mlp_width=tower.mlp_width // divisor)


class RandomPolicy:
    """`PolicyAdapter` of OpenVLA's layout; words become tokens by a checksum."""

    revision, norm_key = "random", "none"
    views, bos_token_id, proprioception = 1, 1, None
    convention = ActionConvention("rpy", "one_is_open", "base", 0.2)

    def __init__(self, name: str, options: LoadOptions) -> None:
        config, device = shapes(name), parse_device(options.device)
        self.name, self.grid = name, config.grid
        torch.manual_seed(0)
        dtype = TORCH_DTYPES[options.dtype]
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # or 7B parameters would be made in float32 first
        try:
            with torch.device(device):
                self.model = OpenVLAModel(config)
                for parameter in self.model.parameters():
                    if parameter.dim() == 1:  # layer scales and embeddings are made unset
                        torch.nn.init.ones_(parameter)
                    else:
                        torch.nn.init.normal_(parameter, std=0.02)
        finally:
            torch.set_default_dtype(before)
        self.model.eval().requires_grad_(False)
        self.decoder = self.model.language_model
        self.backbone = self.decoder.model
        self.head: ActionHead = TokenHead(self.decoder.lm_head, DOF)
        self._device, self._dtype = device, dtype
        self._preprocessing = Preprocessing(config.image_size)
        self._codec = ActionCodec(config.action_vocab_size, config.action_bins)

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One picture of any size."""
        if len(images) != 1:
            raise PolicyError(f"{len(images)} pictures given; {self.name} takes 1")
        image = self._preprocessing.image(images[0])[None]
        return VisionInput(image, self._preprocessing.pixels(image.to(self._device)))

    def tokenize(self, instruction: str) -> PromptTokens:
        """One token a word, and a template of OpenVLA's length."""
        words = [crc32(word.encode()) % 29_000 + 3 for word in instruction.split()]
        ids = torch.tensor([*range(100, 100 + _TEMPLATE - 1), *words, 29_871])
        mask = torch.zeros(len(ids), dtype=torch.bool)
        mask[_TEMPLATE - 1 : -1] = True
        return PromptTokens(ids, mask)

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, 6, H, W) to (256, d)."""
        return self.model.embed_vision(pixels.to(self._dtype)).flatten(0, 1)

    def decode_action(self, decided: Sequence[int]) -> Action:
        """Numbers in [-1, 1] that mean nothing."""
        values = self._codec.decode(decided)
        return Action(values, values, tuple(decided))
