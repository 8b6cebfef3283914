# SPDX-License-Identifier: Apache-2.0
"""Sizes of a SmolVLA checkpoint, by its config.json and that of the model that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import Fields, read_json
from vla_infoentropy_ros.models.lerobot.features import Features
from vla_infoentropy_ros.models.lerobot.sizes import (
    FlowSizes,
    TextSizes,
    VisionSizes,
    check_resized,
)

VLM_CONFIG = "vlm_config.json"
# The vision-language model's sizes, which no SmolVLA checkpoint holds. What of them shows in the
# weights' shapes is checked on loading.
VLMS: dict[str, dict[str, Any]] = {
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": {
        "text_config": {
            "hidden_size": 960, "intermediate_size": 2560, "num_attention_heads": 15,
            "num_key_value_heads": 5, "head_dim": 64, "vocab_size": 49280, "rms_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "patch_size": 16, "image_size": 512,
        },
        "scale_factor": 4,
    },
}


@dataclass(frozen=True)
class SmolVLAConfig:
    """layers: of the language model that are run, and of the expert. self_every: of so many expert
    layers the first sees the actions too, the others the prefix alone; 0: all do that, 1: none."""

    features: Features
    text: TextSizes
    vision: VisionSizes
    layers: int
    expert_width: int
    self_every: int
    flow: FlowSizes
    most_tokens: int
    vlm: str

    @classmethod
    def read(cls, folder: Path) -> SmolVLAConfig:
        """Raises PolicyError for a setting that this package does not have."""
        config = Fields(CONFIG, read_json(folder / CONFIG))
        if config.flag("add_image_special_tokens", False):
            config.refuse("add_image_special_tokens", "false, as in published checkpoints")
        vlm_name = config.text("vlm_model_name")
        vlm = _vlm(folder, vlm_name)
        language = vlm.object("text_config")
        language.choice("hidden_act", ("silu",), "silu")
        text = TextSizes.read(language)
        vision = VisionSizes.read(
            vlm.object("vision_config"), "smolvlm_vision", vlm.integer("scale_factor", 2)
        )
        check_resized(config, vision.image, 512)
        layers = config.integer("num_vlm_layers", 16, high=1000)
        experts = config.integer("num_expert_layers", -1, low=-1)
        if experts > 0 and experts != layers:
            config.refuse("num_expert_layers", f"num_vlm_layers={layers}, or 0 for as many")
        found = cls(
            Features.read(config), text, vision, layers,
            int(text.width * config.number("expert_width_multiplier", 0.75)),
            _self_every(config), FlowSizes.read(config, "num_steps"),
            config.integer("tokenizer_max_length", 48), vlm_name,
        )
        found.flow.check(found.features.state, found.features.action)
        if found.expert_width % 2 or found.expert_width < 2:
            config.refuse("expert_width_multiplier", "such that the expert's width is even")
        return found

    @property
    def expert_mlp_width(self) -> int:
        """8/3 of the width, rounded up to a multiple of 256."""
        return -(-int(4 * int(2 * self.expert_width / 3)) // 256) * 256

    def crosses(self, layer: int) -> bool:
        """Whether that expert layer reads the prefix alone."""
        return self.self_every == 0 or layer % self.self_every != 0


def _self_every(config: Fields) -> int:
    if config.choice("attention_mode", ("cross_attn", "self_attn"), "cross_attn") == "self_attn":
        return 1
    return max(0, config.integer("self_attn_every_n_layers", 2, low=-1))


def _vlm(folder: Path, name: str) -> Fields:
    """The vision-language model's config.json: beside the checkpoint, or one that is known."""
    path = folder / VLM_CONFIG
    if path.is_file():
        return Fields(VLM_CONFIG, read_json(path))
    if name in VLMS:
        return Fields(f"sizes of {name}", VLMS[name])
    raise PolicyError(
        f"{folder}: {CONFIG} says vlm_model_name={name!r}, whose sizes are in no table; copy its "
        f"config.json here as {VLM_CONFIG}"
    )
