# SPDX-License-Identifier: Apache-2.0
"""Sizes of a pi0 checkpoint, by its config.json, as LeRobot or as transformers writes it."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import Fields
from vla_infoentropy_ros.models.lerobot.sizes import (
    FlowSizes,
    TextSizes,
    VisionSizes,
    check_resized,
)
from vla_infoentropy_ros.models.rope import read_rope

LAYERS = 18
# LeRobot's names for the sizes of a Gemma; it always has 18 layers and PaliGemma's words.
VARIANTS = {
    "gemma_300m": TextSizes(1024, 4096, 8, 1, 256, 257_152, 1e-6),
    "gemma_2b": TextSizes(2048, 16_384, 8, 1, 256, 257_152, 1e-6),
}
# SigLIP so400m of PaliGemma but for the picture's edge, which LeRobot's config.json says.
TOWER = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "patch_size": 14,
}
TOWER_KIND = "siglip_vision_model"
IMAGE = 224
ROPE_BASE = 10_000.0
MOST_TOKENS = 48
STEPS, OLDER_STEPS = "num_inference_steps", "num_steps"
OLDER = " (the file is of a LeRobot before 0.4)"


@dataclass(frozen=True)
class Pi0Config:
    """text, expert: of the language model and of the action expert, which reads its keys in each
    of ``layers``."""

    text: TextSizes
    expert: TextSizes
    vision: VisionSizes
    layers: int
    flow: FlowSizes
    most_tokens: int

    def __post_init__(self) -> None:
        alike = ("heads", "key_heads", "head_width")
        if any(getattr(self.text, name) != getattr(self.expert, name) for name in alike):
            raise PolicyError(
                f"{CONFIG}: the expert's attention heads are not those of the language model, "
                "whose keys it reads; fetch the file again"
            )
        if self.expert.width % 2:
            raise PolicyError(f"{CONFIG}: the expert's width={self.expert.width} must be even")

    @classmethod
    def of_lerobot(cls, config: Fields) -> Pi0Config:
        """From a config.json with ``type``. Raises PolicyError for what this package has not."""
        if config.flag("use_relative_actions", False):
            config.refuse("use_relative_actions", "false: its actions are offsets from the state")
        text, expert = (
            VARIANTS[config.choice(f"{part}_variant", tuple(VARIANTS), default)]
            for part, default in (("paligemma", "gemma_2b"), ("action_expert", "gemma_300m"))
        )
        _check_older(config, expert.width)
        edges = config.numbers("image_resolution", 2, [IMAGE, IMAGE])
        tower = Fields(CONFIG, TOWER | {"image_size": int(edges[0])})
        if edges[0] != edges[1] or edges[0] % tower.integer("patch_size"):
            config.refuse("image_resolution", "two equal multiples of the patches' 14 px")
        check_resized(config, int(edges[0]), int(edges[0]), OLDER)
        most = config.integer("tokenizer_max_length", MOST_TOKENS)
        steps = STEPS if config.has(STEPS) or not config.has(OLDER_STEPS) else OLDER_STEPS
        vision = VisionSizes.read(tower, TOWER_KIND)
        return cls._of(config, text, expert, vision, LAYERS, most, steps)

    @classmethod
    def of_transformers(cls, config: Fields) -> Pi0Config:
        """From a config.json with ``model_type``. Raises PolicyError for what this package has
        not."""
        vlm = config.object("vlm_config")
        text, expert = vlm.object("text_config"), config.object("dit_config")
        layers = text.integer("num_hidden_layers", high=1000)
        if expert.integer("num_hidden_layers") != layers:
            expert.refuse("num_hidden_layers", f"{layers}, as many as the language model has")
        for gemma in (text, expert):
            gemma.choice("model_type", ("gemma",), "gemma")
            for name in ("hidden_act", "hidden_activation"):  # the latter by older releases
                gemma.choice(name, ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
            if gemma.flag("attention_bias", False):
                gemma.refuse("attention_bias", "false, as Gemma has it")
            _check_rope(gemma)
        vision = VisionSizes.read(vlm.object("vision_config"), TOWER_KIND)
        return cls._of(config, TextSizes.read(text, "gemma"), TextSizes.read(expert, "gemma"),
                       vision, layers, MOST_TOKENS)

    @classmethod
    def _of(
        cls, config: Fields, text: TextSizes, expert: TextSizes, vision: VisionSizes, layers: int,
        most_tokens: int, steps: str = STEPS,
    ) -> Pi0Config:
        """What both layouts have by the same names. steps: name of the number of Euler steps."""
        return cls(text, expert, vision, layers, FlowSizes.read(config, steps), most_tokens)


def _check_older(config: Fields, width: int) -> None:
    """Raise PolicyError where what LeRobot before 0.4 wrote, and no later one does, says something
    else than the rest. width: of the expert."""
    if config.has(OLDER_STEPS) and config.has(STEPS):
        steps = config.integer(STEPS, high=1000)
        if config.integer(OLDER_STEPS, high=1000) != steps:
            config.refuse(OLDER_STEPS, f"{steps}, as {STEPS}, or absent{OLDER}")
    if config.integer("proj_width", width) != width:
        config.refuse("proj_width", f"{width}, the expert's own width{OLDER}")


def _check_rope(gemma: Fields) -> None:
    """Raise PolicyError for positions that are told otherwise than by a plain rotary embedding:
    transformers 5 writes its settings into an object, older releases beside it."""
    nested = gemma.object("rope_parameters", {})
    for name in ("rope_type", "type"):  # the latter by older releases
        nested.choice(name, ("default",), "default")
    for rope in (nested, gemma):
        if rope.number("rope_theta", ROPE_BASE) != ROPE_BASE:
            rope.refuse("rope_theta", f"{ROPE_BASE:g}")
    if gemma.has("rope_scaling"):
        gemma.refuse("rope_scaling", "null")
    read_rope(gemma)  # what else stands there
