# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's ``config.json`` says about its shapes, read without running its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_infoentropy_ros.engine.flops import mlp_flops, vit_flops
from vla_infoentropy_ros.foreign.text import one_line, shown
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import REMEDY, Fields, read_json
from vla_infoentropy_ros.models.preprocessing import RESIZES
from vla_infoentropy_ros.models.rope import PLACES, read_rope

POLICY_CLASS = "OpenVLAForActionPrediction"
LANGUAGE_MODELS = ("llama2-7b-pure", "llama2-13b-pure")
# What descendants of OpenVLA write into their config.json and OpenVLA does not.
PARTS_OF_OTHERS = ("action_head", "use_proprio", "use_film", "use_diffusion", "use_l1_regression")
COUNTS_OF_OTHERS = ("num_action_chunks", "num_images_in_input")

ARCHITECTURE = "no-align+fused-gelu-mlp"  # arch_specifier of openvla-7b

# timm's model arguments by model id, which is what the checkpoint was made with.
TOWERS: dict[str, dict[str, Any]] = {
    "vit_large_patch14_reg4_dinov2.lvd142m": {
        "patch_size": 14, "embed_dim": 1024, "depth": 24, "num_heads": 16, "mlp_ratio": 4.0,
        "class_token": True, "reg_tokens": 4, "layer_scale": True,
    },
    "vit_so400m_patch14_siglip_224": {
        "patch_size": 14, "embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362,
        "class_token": False, "reg_tokens": 0, "layer_scale": False,
    },
}

# The 384 px pair is left out: its patches do not tile the image, which selection relies on.
BACKBONES: dict[str, tuple[int, tuple[str, str]]] = {
    "dinosiglip-vit-so-224px": (
        224, ("vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224")
    ),
}

# The published text_config names only what differs from transformers' defaults of that time.
# They are written out here so that a later release with other defaults changes nothing.
LLAMA_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2,
    "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
}
# Everything else in a text_config is about training or generation, and no part of the network.
LLAMA_FIELDS = (*LLAMA_DEFAULTS, "num_key_value_heads", "head_dim")

UNQUANTISED = "config.json names a quantization_config; load the unquantised checkpoint"
MOST_PIXELS = 4096  # of a tower's edge
MOST_BLOCKS = 1000  # of a tower or a language model; more would take minutes to refuse


@dataclass(frozen=True)
class TowerConfig:
    """One vision transformer. image_size, patch_size: px. depth: blocks in the published tower,
    of which the last is not run."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    class_token: bool
    register_tokens: int
    layer_scale: bool

    @property
    def side(self) -> int:
        """Patches along one edge."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Rows of every block: patches and the prefix before them."""
        return self.side**2 + int(self.class_token) + self.register_tokens


@dataclass(frozen=True)
class OpenVLAConfig:
    """Shapes and constants of one checkpoint.

    towers: DINOv2, then SigLIP, over the same grid. action_vocab_size: the tokenizer's, from
    whose end the action tokens count down; the language model's is padded beyond it.
    resize: one of `preprocessing.RESIZES`, "" where config.json does not say. norm_stats: by
    dataset key, as published, or empty.
    """

    towers: tuple[TowerConfig, TowerConfig]
    llama: LlamaConfig
    action_vocab_size: int
    action_bins: int
    resize: str
    max_prompt_tokens: int
    norm_stats: Mapping[str, Any]

    @property
    def image_size(self) -> int:
        return self.towers[0].image_size

    @property
    def grid(self) -> tuple[int, int]:
        return self.towers[0].side, self.towers[0].side

    def vision_flops(self) -> tuple[int, int]:
        """True FLOPs of one picture: (towers, projector)."""
        towers = sum(
            vit_flops(
                width=tower.width, mlp_width=tower.mlp_width, blocks=tower.depth - 1,
                rows=tower.tokens, patches=tower.side**2, patch_values=3 * tower.patch_size**2,
            )
            for tower in self.towers
        )
        wide, width = sum(tower.width for tower in self.towers), int(self.llama.hidden_size)
        return towers, mlp_flops(self.grid[0] * self.grid[1], (wide, 4 * wide, width, width))

    @classmethod
    def read(cls, folder: Path) -> OpenVLAConfig:
        """From ``config.json`` of a checkpoint folder."""
        return cls.from_mapping(read_json(folder / CONFIG))

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> OpenVLAConfig:
        """From parsed JSON. Raises PolicyError for any value that cannot be used."""
        fields = Fields(CONFIG, raw)
        _check_kind(fields)
        llama = _llama(fields)
        towers = _towers(fields)
        padding = fields.integer("pad_to_multiple_of", 64, low=0)
        bins = fields.integer("n_action_bins", 256, low=2)
        action_vocab = int(llama.vocab_size) - padding
        if bins >= action_vocab:
            raise PolicyError(
                f"config.json: n_action_bins={bins} with a vocabulary of {llama.vocab_size} "
                f"padded by pad_to_multiple_of={padding}: the action tokens do not fit; {REMEDY}"
            )
        positions = min(
            fields.integer("llm_max_length", 2048), int(llama.max_position_embeddings)
        )
        visual = towers[0].side ** 2
        if positions <= visual + DOF + 1:
            raise PolicyError(
                f"config.json: llm_max_length and text_config.max_position_embeddings leave "
                f"{positions} positions: no prompt fits beside {visual} visual tokens; {REMEDY}"
            )
        return cls(
            towers=towers,
            llama=llama,
            action_vocab_size=action_vocab,
            action_bins=bins,
            resize=fields.choice("image_resize_strategy", ("", *RESIZES), ""),
            max_prompt_tokens=positions,
            norm_stats=fields.object("norm_stats", {}).values,
        )


def _check_kind(fields: Fields) -> None:
    """Refuse other models by what they are, before any of their shapes is looked at."""
    raw = fields.values
    fields.choice("model_type", ("openvla",))
    if fields.has("architectures") and raw["architectures"] != [POLICY_CLASS]:
        fields.refuse("architectures", f"['{POLICY_CLASS}']; others predict actions by other means")
    # Others were trained with chat templates around the instruction.
    fields.choice("llm_backbone_id", LANGUAGE_MODELS, LANGUAGE_MODELS[0])
    for name in PARTS_OF_OTHERS:
        if raw.get(name):
            fields.refuse(name, "absent: it belongs to OpenVLA-OFT or another descendant")
    for name in COUNTS_OF_OTHERS:
        if fields.integer(name, 1, low=0) > 1:
            fields.refuse(name, "1, as OpenVLA has it: one picture, one action")
    specifier = raw.get("arch_specifier")
    if specifier not in (None, ARCHITECTURE) or not fields.flag("use_fused_vision_backbone", True):
        raise PolicyError(
            f"config.json: arch_specifier={shown(specifier)}, use_fused_vision_backbone="
            f"{shown(raw.get('use_fused_vision_backbone'))}; only {ARCHITECTURE!r} with the fused "
            "DINOv2 + SigLIP tower (openvla-7b and its fine-tunes) is supported"
        )
    if raw.get("quantization_config"):
        raise PolicyError(UNQUANTISED)


def _towers(fields: Fields) -> tuple[TowerConfig, TowerConfig]:
    backbone = fields.choice("vision_backbone_id", tuple(BACKBONES), "dinosiglip-vit-so-224px")
    size, default_names = BACKBONES[backbone]
    names = fields.items("timm_model_ids", 2, "names", list(default_names))
    if any(name not in tuple(TOWERS) for name in names):
        fields.refuse("timm_model_ids", str(list(default_names)))
    sizes = fields.items("image_sizes", 2, "integers, px, one for each tower", [size, size])
    layers = fields.items("timm_override_act_layers", 2, "times null", [None, None])
    if layers != [None, None]:  # only the towers' own GELU is supported
        fields.refuse("timm_override_act_layers", "[null, null]")
    # Not in published files: lets a small model of the same layout say how small it is.
    overrides = fields.objects("timm_model_args", 2, [{}, {}])
    dino, sig = (
        _tower(fields, name, edge, extra)
        for name, edge, extra in zip(names, sizes, overrides, strict=True)
    )
    if dino.image_size != sig.image_size or dino.side != sig.side:
        raise PolicyError(
            f"config.json: image_sizes={sizes} in patches of {dino.patch_size} and "
            f"{sig.patch_size} px: the two towers must share one image and one grid; {REMEDY}"
        )
    return dino, sig


def _tower(fields: Fields, name: str, image_size: Any, overrides: Fields) -> TowerConfig:
    known = TOWERS[name]
    unknown = sorted(set(overrides.values) - set(known))
    if unknown:
        raise PolicyError(
            f"config.json: {overrides.where[:-1]} holds unknown names {shown(unknown)}; known are "
            f"{', '.join(known)}"
        )
    width = overrides.integer("embed_dim", known["embed_dim"])
    ratio = overrides.number("mlp_ratio", known["mlp_ratio"])
    tower = TowerConfig(
        image_size=image_size,
        patch_size=overrides.integer("patch_size", known["patch_size"]),
        width=width,
        depth=overrides.integer("depth", known["depth"], low=2, high=MOST_BLOCKS),
        heads=overrides.integer("num_heads", known["num_heads"]),
        mlp_width=int(width * ratio),
        class_token=overrides.flag("class_token", known["class_token"]),
        register_tokens=overrides.integer("reg_tokens", known["reg_tokens"], low=0),
        layer_scale=overrides.flag("layer_scale", known["layer_scale"]),
    )
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not whole or not 1 <= image_size <= MOST_PIXELS or image_size % tower.patch_size:
        fields.refuse(
            "image_sizes",
            f"two multiples of the towers' patches of {tower.patch_size} px, up to {MOST_PIXELS}",
        )
    if tower.width % tower.heads or tower.mlp_width < 1:
        raise PolicyError(
            f"config.json: {overrides.where[:-1]}={shown(dict(overrides.values))}: num_heads="
            f"{tower.heads} must divide embed_dim={tower.width}, and mlp_ratio={ratio:g} leave "
            f"a hidden width; {REMEDY}"
        )
    return tower


def _llama(fields: Fields) -> LlamaConfig:
    text = fields.object("text_config", {})
    kind = text.values.get("model_type", "llama")
    if kind != "llama":
        raise PolicyError(
            f"config.json: text_config.model_type={shown(kind)} (llm_backbone_id="
            f"{shown(fields.values.get('llm_backbone_id'))}); only 'llama' is supported"
        )
    if text.values.get("quantization_config"):
        raise PolicyError(UNQUANTISED)
    config = _build_llama(text)
    try:
        frequencies = LlamaRotaryEmbedding(config).inv_freq
        usable = bool(torch.isfinite(frequencies).all())
        cause = "its frequencies are not finite"
    except Exception as error:  # whatever the formula of a rope type meets
        usable, cause = False, one_line(f"{type(error).__name__}: {error}")
    if not usable:
        given = {name: text.values[name] for name in ("rope_theta", *PLACES) if text.has(name)}
        raise PolicyError(
            f"config.json: text_config with {shown(given)} gives no rotary embedding ({cause}); "
            f"{REMEDY}"
        )
    return config


def _build_llama(text: Fields) -> LlamaConfig:
    """The library's configuration, of values that it would take without a look as well."""
    given = {name: text.values[name] for name in LLAMA_FIELDS if text.has(name)}
    values: dict[str, Any] = {
        name: text.integer(name, LLAMA_DEFAULTS[name])
        for name in (
            "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
            "max_position_embeddings",
        )
    } | {
        name: text.flag(name, False)
        for name in ("tie_word_embeddings", "attention_bias", "mlp_bias")
    }
    heads = values["num_attention_heads"]
    values["num_hidden_layers"] = text.integer(
        "num_hidden_layers", LLAMA_DEFAULTS["num_hidden_layers"], high=MOST_BLOCKS
    )
    values["rms_norm_eps"] = text.number("rms_norm_eps", LLAMA_DEFAULTS["rms_norm_eps"])
    values["hidden_act"] = text.choice("hidden_act", tuple(ACT2FN), LLAMA_DEFAULTS["hidden_act"])
    if heads % text.integer("num_key_value_heads", heads):
        text.refuse("num_key_value_heads", f"a divisor of num_attention_heads={heads}")
    if text.integer("head_dim", 2) % 2:
        text.refuse("head_dim", "even")
    values["rope_parameters"] = read_rope(text)
    if values["tie_word_embeddings"]:
        text.refuse("tie_word_embeddings", "false")
    try:
        return LlamaConfig(**(LLAMA_DEFAULTS | given | values))
    except Exception as error:  # validation errors of the library, whose classes have moved
        raise PolicyError(
            f"config.json: text_config={shown(given)} is not a Llama: {one_line(error)}; "
            f"{REMEDY}"
        ) from error
