# SPDX-License-Identifier: Apache-2.0
"""pi0's network: transformers' own modules under its own names, LeRobot's names led to them.

A PaliGemma reads pictures and words, which see one another; a second Gemma, the expert, reads its
keys and values layer by layer beside those of the robot's state and of a noisy chunk (Black et
al., pi0, arXiv 2410.24164).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers import PI0Config, PI0ForConditionalGeneration
from transformers.models.gemma.modeling_gemma import GemmaRotaryEmbedding

from vla_infoentropy_ros.models.lerobot.modules import ScaledEmbedding, embed_actions
from vla_infoentropy_ros.models.lerobot.sizes import TextSizes
from vla_infoentropy_ros.models.pi0.config import ROPE_BASE, Pi0Config

# From LeRobot's names of weights to transformers'; names that none of these meet stay.
RENAMED = tuple((re.compile(pattern), name) for pattern, name in (
    (r"^(model\.)?paligemma_with_expert\.paligemma\.model\.", "model.vlm."),
    (r"^(model\.)?paligemma_with_expert\.gemma_expert\.model\.", "model.dit."),
    (r"^(model\.)?paligemma_with_expert\.paligemma\.lm_head\.", "lm_head."),
    (r"^(model\.)?paligemma_with_expert\.gemma_expert\.lm_head\.", "model.dit.embed_tokens."),
    (r"^(model\.)?(state_proj|action_in_proj|action_time_mlp_in|action_time_mlp_out)\.",
     r"embed_action_time.\2."),
    (r"^model\.action_out_proj\.", "action_out_proj."),
    (r"^(model\.vlm\.vision_tower\.)vision_model\.", r"\1"),
))
WORDS, TIED = "model.vlm.language_model.embed_tokens.weight", "lm_head.weight"
# The expert is given no words, and the policy writes none.
UNUSED = r"lm_head\.weight|model\.dit\.embed_tokens\.weight"


def published_name(stored: str) -> str:
    """transformers' name of a weight that LeRobot or transformers saved."""
    for pattern, name in RENAMED:
        stored = pattern.sub(name, stored)
    return stored


class Pi0Model(PI0ForConditionalGeneration):
    """transformers' network without the table of words that its expert never reads."""

    def __init__(self, config: Pi0Config) -> None:
        super().__init__(_native(config))
        self.model.dit.embed_tokens = None
        self.language_model.embed_tokens = ScaledEmbedding(
            config.text.vocabulary, config.text.width
        )
        self._periods = config.flow.periods

    @property
    def language_model(self) -> Any:
        return self.model.vlm.language_model

    @property
    def expert(self) -> Any:
        return self.model.dit

    @property
    def vision_tower(self) -> nn.Module:
        tower: nn.Module = self.model.vlm.vision_tower
        return tower

    def restore_buffers(self, device: torch.device) -> None:
        """Frequencies and places are no parameters, and in no checkpoint; float32 by design."""
        language = self.language_model
        language.rotary_emb = GemmaRotaryEmbedding(language.config).to(device)
        places: Any = self.vision_tower.embeddings
        places.position_ids = torch.arange(places.num_positions, device=device)[None]

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (V, 3, H, W) to visual embeddings (V, tokens, d)."""
        embedded: torch.Tensor = self.model.vlm.get_image_features(pixels).pooler_output
        return embedded

    def embed_actions(self, chunk: torch.Tensor, time: float) -> torch.Tensor:
        """A noisy chunk (1, H, a) at flow time ``time`` to what enters the expert, (1, H, d)."""
        return embed_actions(self.embed_action_time, chunk, time, self._periods)

    def velocity(self, hidden: torch.Tensor) -> torch.Tensor:
        """What left the expert's last layer (1, H, d) to a velocity (1, H, a) float32."""
        moved: torch.Tensor = self.action_out_proj(self.expert.norm(hidden))
        return moved.float()


def _native(config: Pi0Config) -> PI0Config:
    vision = config.vision
    return PI0Config(
        vlm_config={
            "model_type": "paligemma", "text_config": _gemma(config.text, config.layers),
            "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": vision.width,
                "intermediate_size": vision.mlp_width, "num_hidden_layers": vision.layers,
                "num_attention_heads": vision.heads, "patch_size": vision.patch,
                "image_size": vision.image, "vision_use_head": False,
            },
            "projection_dim": config.text.width,
        },
        dit_config=_gemma(config.expert, config.layers), chunk_size=config.flow.horizon,
        max_state_dim=config.flow.state_size, max_action_dim=config.flow.action_size,
        num_inference_steps=config.flow.euler_steps, min_period=config.flow.periods[0],
        max_period=config.flow.periods[1],
    )


def _gemma(sizes: TextSizes, layers: int) -> dict[str, Any]:
    return {
        "model_type": "gemma", "hidden_size": sizes.width, "intermediate_size": sizes.mlp_width,
        "num_hidden_layers": layers, "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_heads, "head_dim": sizes.head_width,
        "vocab_size": sizes.vocabulary, "rms_norm_eps": sizes.epsilon,
        "hidden_act": "gelu_pytorch_tanh",
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
    }
