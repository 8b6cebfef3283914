# SPDX-License-Identifier: Apache-2.0
"""SmolVLA as plain modules; parameter names are those of checkpoints that LeRobot writes.

A prefix of pictures, words and the robot's state runs through the first layers of a SmolVLM; an
expert of as many layers turns a noisy chunk into a velocity. The first of ``self_every`` expert
layers attends to the prefix's keys and the chunk's own; the others read the prefix alone, through
projections of their own (Shukor et al., SmolVLA, arXiv 2506.01844).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, SmolVLMConfig
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)
from transformers.models.smolvlm.modeling_smolvlm import (
    SmolVLMConnector,
    SmolVLMVisionTransformer,
)

from vla_infoentropy_ros.engine.layer import ReadsPrefix, attended, rotated, split
from vla_infoentropy_ros.models.lerobot.modules import ScaledEmbedding, embed_actions
from vla_infoentropy_ros.models.lerobot.sizes import TextSizes
from vla_infoentropy_ros.models.smolvla.config import SmolVLAConfig

ROPE_BASE = 10_000.0  # whatever the language model itself was trained with

# In published checkpoints, and never run by the policy.
UNUSED = r"model\.vlm_with_expert\.(vlm\.lm_head\.weight|.*\.rotary_emb\.inv_freq)"


class CrossAttention(ReadsPrefix):
    """Actions to the prefix, whose keys and values are projected once more."""

    def __init__(self, width: int, sizes: TextSizes) -> None:
        super().__init__()
        self.head_dim, self.scaling = sizes.head_width, sizes.head_width**-0.5
        self.num_key_value_groups = sizes.heads // sizes.key_heads
        asked, read = sizes.heads * sizes.head_width, sizes.key_heads * sizes.head_width
        self.q_proj = nn.Linear(width, asked, bias=False)
        self.k_proj = nn.Linear(read, read, bias=False)
        self.v_proj = nn.Linear(read, read, bias=False)
        self.o_proj = nn.Linear(asked, width, bias=False)
        self._keys = self._values = self._rotary = torch.zeros(0)

    def read(self, keys: torch.Tensor, values: torch.Tensor, rotary: torch.Tensor) -> None:
        """Take over a prefix: keys, values (1, Hkv, P, d_head) of the language model's layer,
        rotated to their positions; they are rotated no further. rotary: (2, 1, 1, H, d_head),
        cosines and sines of the chunk's rows, which count from 0."""
        self._keys = split(self, self.k_proj, keys.transpose(1, 2).flatten(2))
        self._values = split(self, self.v_proj, values.transpose(1, 2).flatten(2))
        self._rotary = rotary

    def across(self, rows: torch.Tensor) -> torch.Tensor:
        """(1, H, d) to the same."""
        queries = rotated(split(self, self.q_proj, rows), *self._rotary)
        return attended(self, queries, self._keys, self._values, None)


class Expert(nn.Module):
    """Layers of the action expert, one for each of the language model."""

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        sizes = llama_config(
            config.text, config.layers, config.expert_width, config.expert_mlp_width
        )
        self.layers = nn.ModuleList(LlamaDecoderLayer(sizes, i) for i in range(config.layers))
        for index, layer in enumerate(self.layers):
            if config.crosses(index):
                layer.self_attn = CrossAttention(config.expert_width, config.text)
        self.norm = LlamaRMSNorm(config.expert_width, eps=config.text.epsilon)


class FlowMatching(nn.Module):
    """The network; pictures (V, 3, H, W) in [-1, 1], state and actions padded with zeros."""

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        width, narrow = config.text.width, config.expert_width
        self.vlm_with_expert = nn.ModuleDict({
            "vlm": nn.ModuleDict({"model": _vlm(config)}), "lm_expert": Expert(config),
        })
        self.state_proj = nn.Linear(config.flow.state_size, width)
        self.action_in_proj = nn.Linear(config.flow.action_size, narrow)
        self.action_out_proj = nn.Linear(narrow, config.flow.action_size)
        self.action_time_mlp_in = nn.Linear(2 * narrow, narrow)
        self.action_time_mlp_out = nn.Linear(narrow, narrow)
        self._periods = config.flow.periods

    @property
    def vlm(self) -> Any:
        """Of its parts ``vision_model``, ``connector`` and ``text_model``."""
        both: Any = self.vlm_with_expert
        return both["vlm"]["model"]

    @property
    def expert(self) -> Expert:
        expert: Any = self.vlm_with_expert["lm_expert"]
        return expert

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (V, 3, H, W) to visual embeddings (V, tokens, d)."""
        vlm = self.vlm
        features = vlm["vision_model"](pixel_values=pixels).last_hidden_state
        embedded: torch.Tensor = vlm["connector"](features)
        return embedded * math.sqrt(embedded.shape[-1])

    def embed_actions(self, chunk: torch.Tensor, time: float) -> torch.Tensor:
        """A noisy chunk (1, H, a) at flow time ``time`` to what enters the expert, (1, H, d)."""
        return embed_actions(self, chunk, time, self._periods)

    def velocity(self, hidden: torch.Tensor) -> torch.Tensor:
        """What left the expert's last layer (1, H, d) to a velocity (1, H, a) float32."""
        moved: torch.Tensor = self.action_out_proj(self.expert.norm(hidden))
        return moved.float()


class SmolVLAModel(nn.Module):
    """`FlowMatching` under the name that checkpoints have it by."""

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        self.model = FlowMatching(config)

    def restore_rotary(self, device: torch.device) -> None:
        """Frequencies are no parameters, and in no checkpoint; float32 by design."""
        text = self.model.vlm["text_model"]
        text.rotary_emb = LlamaRotaryEmbedding(text.config).to(device)


def llama_config(sizes: TextSizes, layers: int, width: int, mlp_width: int) -> LlamaConfig:
    """Of the language model or the expert, which differ in width alone."""
    return LlamaConfig(
        hidden_size=width, intermediate_size=mlp_width, num_hidden_layers=layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.key_heads,
        head_dim=sizes.head_width, vocab_size=sizes.vocabulary, rms_norm_eps=sizes.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )


def _vlm(config: SmolVLAConfig) -> nn.ModuleDict:
    """The vision-language model, as far as the policy runs it."""
    text, vision = config.text, config.vision
    words = llama_config(text, config.layers, text.width, text.mlp_width)
    joint = SmolVLMConfig(
        text_config=words,
        vision_config={
            "hidden_size": vision.width, "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.layers, "num_attention_heads": vision.heads,
            "patch_size": vision.patch, "image_size": vision.image,
        },
        scale_factor=vision.shuffle,
    )
    language = LlamaModel(words)
    language.embed_tokens = ScaledEmbedding(text.vocabulary, text.width)
    return nn.ModuleDict({
        "vision_model": SmolVLMVisionTransformer._from_config(joint.vision_config),
        "connector": SmolVLMConnector(joint),
        "text_model": language,
    })
