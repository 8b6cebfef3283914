# SPDX-License-Identifier: Apache-2.0
"""Sizes of the transformers that a vision-language-action policy is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import Fields

SIGLIP_EPSILON = 1e-6
# What transformers' configuration classes have where a file says nothing, by ``model_type``: files
# that they write may leave out what is as here. Of another class everything must be said.
TEXT_DEFAULTS: dict[str, dict[str, float]] = {
    "llama": {"rms_norm_eps": 1e-6},  # and what `TextSizes.read` derives
    "gemma": {"rms_norm_eps": 1e-6, "num_key_value_heads": 16, "head_dim": 256},
}
_SMOL = {"intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 16}
VISION_DEFAULTS: dict[str, dict[str, int]] = {
    "smolvlm_vision": _SMOL, "idefics3_vision": _SMOL,
    "siglip_vision_model": _SMOL | {"num_attention_heads": 12},
}


@dataclass(frozen=True)
class TextSizes:
    """Of a language model, or of an expert that reads its keys. epsilon: of its norms."""

    width: int
    mlp_width: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    epsilon: float

    @classmethod
    def read(cls, fields: Fields, kind: str = "llama") -> TextSizes:
        """kind: ``model_type``, where the file says none. Raises PolicyError for sizes that do not
        fit."""
        kind = fields.text("model_type", kind)
        width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
        defaults = TEXT_DEFAULTS.get(kind, {})
        if kind == "llama":  # as many key heads as heads, which share the width
            defaults = {**defaults, "num_key_value_heads": heads,
                        "head_dim": max(1, width // heads)}
        fields = with_defaults(fields, defaults)
        sizes = cls(
            width, fields.integer("intermediate_size"), heads,
            fields.integer("num_key_value_heads"),
            fields.integer("head_dim"), fields.integer("vocab_size"),
            fields.number("rms_norm_eps"),
        )
        if heads % sizes.key_heads or sizes.head_width % 2:
            raise PolicyError(
                f"{fields.file}: {fields.where}num_key_value_heads={sizes.key_heads} must divide "
                f"num_attention_heads={heads}, and head_dim={sizes.head_width} be even"
            )
        return sizes


@dataclass(frozen=True)
class VisionSizes:
    """Of a SigLIP tower. image, patch: px. shuffle: edge of the squares of patches that become
    one visual token."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    patch: int
    image: int
    shuffle: int = 1

    @classmethod
    def read(cls, fields: Fields, kind: str, shuffle: int = 1) -> VisionSizes:
        """kind: ``model_type``, where the file says none. Raises PolicyError for sizes that do not
        fit, and for a tower that is another."""
        fields = with_defaults(fields, VISION_DEFAULTS.get(fields.text("model_type", kind), {}))
        fields.choice("hidden_act", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
        if fields.number("layer_norm_eps", SIGLIP_EPSILON) != SIGLIP_EPSILON:
            fields.refuse("layer_norm_eps", f"{SIGLIP_EPSILON:g}, as SigLIP has it")
        sizes = cls(
            fields.integer("hidden_size"), fields.integer("intermediate_size"),
            fields.integer("num_hidden_layers", high=1000),
            fields.integer("num_attention_heads"), fields.integer("patch_size"),
            fields.integer("image_size"), shuffle,
        )
        if sizes.width % sizes.heads or sizes.image % (sizes.patch * sizes.shuffle):
            raise PolicyError(
                f"{fields.file}: {fields.where}num_attention_heads={sizes.heads} must divide "
                f"hidden_size={sizes.width}, and patch_size x scale_factor={sizes.patch} x "
                f"{sizes.shuffle} image_size={sizes.image}"
            )
        return sizes

    @property
    def side(self) -> int:
        """Visual tokens per row and per column."""
        return self.image // (self.patch * self.shuffle)


def with_defaults(fields: Fields, defaults: Mapping[str, float]) -> Fields:
    """The same object, those filled in that it leaves out."""
    said = {name: value for name, value in fields.values.items() if value is not None}
    return Fields(fields.file, {**defaults, **said}, fields.where)


def check_resized(config: Fields, image: int, default: int, note: str = "") -> None:
    """Raise PolicyError unless LeRobot fits pictures into squares of ``image`` px, the tower's.

    default: px, where the file says nothing. note: on the setting, for the message. Null is no
    silence: by it LeRobot resizes nothing.
    """
    name = "resize_imgs_with_padding"
    if name in config.values and not config.has(name):
        raise PolicyError(
            f"{config.file}: {name}=null: pictures of any size would go in as they are, and must "
            f"be fitted into [{image}, {image}]{note}; name a checkpoint that was trained so"
        )
    if config.numbers(name, 2, [default, default]) != [image, image]:
        config.refuse(name, f"[{image}, {image}], the vision tower's own size{note}")


@dataclass(frozen=True)
class FlowSizes:
    """Of what an expert moves by flow: ``horizon`` actions in a chunk, in ``euler_steps``.
    state_size, action_size: numbers, padding included. periods: shortest and longest of the flow
    time's code."""

    horizon: int
    euler_steps: int
    state_size: int
    action_size: int
    periods: tuple[float, float]

    @classmethod
    def read(cls, fields: Fields, steps: str) -> FlowSizes:
        """steps: name of the number of Euler steps."""
        return cls(
            fields.integer("chunk_size", 50, high=1000), fields.integer(steps, 10, high=1000),
            fields.integer("max_state_dim", 32), fields.integer("max_action_dim", 32),
            (fields.number("min_period", 4e-3), fields.number("max_period", 4.0)),
        )

    def check(self, state: int, action: int) -> None:
        """Raise PolicyError for a robot of more numbers than the network has room for."""
        if state > self.state_size or action > self.action_size:
            raise PolicyError(
                f"{CONFIG}: max_state_dim={self.state_size} and max_action_dim={self.action_size} "
                f"are less than the {state} and {action} of its robot"
            )
