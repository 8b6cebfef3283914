# SPDX-License-Identifier: Apache-2.0
"""A model of your own, here one with random weights: all that the package asks of it.
Wherever a model is named, so is this one, in a folder of PYTHONPATH: model:=own_model:load
"""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from vla_infoentropy_ros.engine.heads import TokenHead
from vla_infoentropy_ros.models import adapter
from vla_infoentropy_ros.models.action_codec import ActionCodec, ActionStats

LETTERS, BINS, SIDE, PATCH = 27, 32, 64, 16


class OwnPolicy:
    name, revision, norm_key, proprioception = "own", "random", "own", None
    views, grid, bos_token_id = 1, (SIDE // PATCH, SIDE // PATCH), 0
    convention = adapter.ActionConvention("rpy", "one_is_open", "base", control_period_s=0.2)

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=LETTERS + BINS, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=4, initializer_range=0.3,
        )
        self.decoder = LlamaForCausalLM(config).eval().requires_grad_(False)
        self.backbone = self.decoder.model  # any model that is built like a Llama
        self.head = TokenHead(self.decoder.lm_head, action_tokens=7)
        self.eyes = torch.nn.Conv2d(3, 64, PATCH, stride=PATCH).requires_grad_(False)
        high = np.array([0.02] * 3 + [0.1] * 3 + [1.0])  # m, rad, 1 = open
        self.stats = ActionStats(-high * (high < 1.0), high, np.full(7, True))
        self.codec = ActionCodec(LETTERS + BINS, BINS)

    def preprocess(self, images):
        if len(images) != 1:
            raise adapter.PolicyError(f"{len(images)} pictures given; this policy takes one")
        image = torch.from_numpy(np.resize(images[0], (1, SIDE, SIDE, 3)))  # yours: a real resize
        return adapter.VisionInput(image, image.permute(0, 3, 1, 2).float() / 255)

    def tokenize(self, instruction):
        letters = [ord(c) - ord("a") + 1 for c in instruction.lower() if "a" <= c <= "z"]
        if not letters:
            raise adapter.PolicyError(f"instruction={instruction!r}: say what to do")
        ids = torch.tensor([*letters, 0])
        return adapter.PromptTokens(ids, ids > 0)

    def embed_vision(self, pixels):
        return self.eyes(pixels).flatten(2).transpose(1, 2).flatten(0, 1)

    def decode_action(self, decided):
        normalised = self.codec.decode(decided)
        return adapter.Action(self.stats.unnormalise(normalised), normalised, tuple(decided))


def load(text, options):
    """text: behind a second colon, as in own_model:load:/my/weights. options: device, dtype, ..."""
    return OwnPolicy()
