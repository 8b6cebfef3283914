# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's ``config.json`` says about its shapes, read without running its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from vla_infoentropy_ros.models.adapter import PolicyError

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
    norm_stats: by dataset key, as published, or empty.
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

    @classmethod
    def read(cls, folder: Path) -> OpenVLAConfig:
        """From ``config.json`` of a checkpoint folder."""
        return cls.from_mapping(read_json(folder / "config.json"))

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> OpenVLAConfig:
        model_type = raw.get("model_type")
        if model_type != "openvla":
            hint = " (a vision-language model, not a policy)" * (model_type == "prismatic")
            raise PolicyError(
                f"config.json: model_type={model_type!r}{hint}, must be 'openvla'; name the folder "
                "of an OpenVLA checkpoint"
            )
        specifier = raw.get("arch_specifier", ARCHITECTURE)
        if specifier != ARCHITECTURE or not raw.get("use_fused_vision_backbone", True):
            raise PolicyError(
                f"config.json: arch_specifier={specifier!r}, use_fused_vision_backbone="
                f"{raw.get('use_fused_vision_backbone')}; only {ARCHITECTURE!r} with the fused "
                "DINOv2 + SigLIP tower (openvla-7b and its fine-tunes) is supported"
            )
        resize = raw.get("image_resize_strategy", "letterbox")
        if resize not in ("resize-naive", "letterbox", "resize-crop"):
            raise PolicyError(f"config.json: image_resize_strategy={resize!r} is not known")
        llama = _llama(raw)
        padding = int(raw.get("pad_to_multiple_of", 64))
        bins = int(raw.get("n_action_bins", 256))
        action_vocab = llama.vocab_size - padding
        if not 2 <= bins < action_vocab:
            raise PolicyError(
                f"config.json: n_action_bins={bins} with a vocabulary of {llama.vocab_size} "
                f"padded by pad_to_multiple_of={padding}: the action tokens do not fit"
            )
        return cls(
            towers=_towers(raw),
            llama=llama,
            action_vocab_size=action_vocab,
            action_bins=bins,
            resize=resize,
            max_prompt_tokens=min(
                int(raw.get("llm_max_length", 2048)), int(llama.max_position_embeddings)
            ),
            norm_stats=raw.get("norm_stats") or {},
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from ``path``; errors name the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PolicyError(f"{path} is missing; name a complete checkpoint folder") from error
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PolicyError(f"{path} holds a JSON {type(value).__name__}, must be an object")
    return value


def _towers(raw: Mapping[str, Any]) -> tuple[TowerConfig, TowerConfig]:
    backbone = raw.get("vision_backbone_id", "dinosiglip-vit-so-224px")
    if backbone not in BACKBONES:
        raise PolicyError(
            f"config.json: vision_backbone_id={backbone!r}; supported: {', '.join(BACKBONES)}"
        )
    size, default_names = BACKBONES[backbone]
    names = raw.get("timm_model_ids") or list(default_names)
    sizes = raw.get("image_sizes") or [size, size]
    unknown = [name for name in names if name not in TOWERS]
    if unknown or len(names) != 2:
        raise PolicyError(f"config.json: timm_model_ids={names}; must be {list(default_names)}")
    if any(layer is not None for layer in raw.get("timm_override_act_layers") or ()):
        raise PolicyError(
            f"config.json: timm_override_act_layers={raw['timm_override_act_layers']}; only the "
            "towers' own GELU is supported"
        )
    # Not in published files: lets a small model of the same layout say how small it is.
    overrides = raw.get("timm_model_args") or [{}, {}]
    if len(sizes) != 2 or len(overrides) != 2:
        raise PolicyError(f"config.json: image_sizes={sizes}; must be two, one for each tower")
    dino, sig = (
        _tower(name, edge, extra)
        for name, edge, extra in zip(names, sizes, overrides, strict=True)
    )
    if dino.image_size != sig.image_size or dino.side != sig.side:
        raise PolicyError(
            f"config.json: image_sizes={sizes} in patches of {dino.patch_size} and "
            f"{sig.patch_size} px: the two towers must share one image and one grid"
        )
    return dino, sig


def _tower(name: str, image_size: Any, overrides: Mapping[str, Any]) -> TowerConfig:
    args = TOWERS[name] | dict(overrides)
    unknown = sorted(set(args) - set(TOWERS[name]))
    if unknown:
        raise PolicyError(f"config.json: timm_model_args hold unknown names {unknown}")
    if not isinstance(image_size, int) or image_size % args["patch_size"]:
        raise PolicyError(
            f"config.json: image size {image_size!r} of {name} is not a multiple of its patches "
            f"of {args['patch_size']} px"
        )
    if args["embed_dim"] % args["num_heads"] or args["depth"] < 2:
        raise PolicyError(f"config.json: impossible tower {name}: {args}")
    return TowerConfig(
        image_size=image_size,
        patch_size=args["patch_size"],
        width=args["embed_dim"],
        depth=args["depth"],
        heads=args["num_heads"],
        mlp_width=int(args["embed_dim"] * args["mlp_ratio"]),
        class_token=args["class_token"],
        register_tokens=args["reg_tokens"],
        layer_scale=args["layer_scale"],
    )


def _llama(raw: Mapping[str, Any]) -> LlamaConfig:
    text = dict(raw.get("text_config") or {})
    kind = text.get("model_type", "llama")
    if kind != "llama":
        raise PolicyError(
            f"config.json: text_config.model_type={kind!r} (llm_backbone_id="
            f"{raw.get('llm_backbone_id')!r}); only 'llama' is supported"
        )
    if text.get("quantization_config") or raw.get("quantization_config"):
        raise PolicyError(
            "config.json names a quantization_config; load the unquantised checkpoint"
        )
    for name in ("torch_dtype", "dtype", "pad_token_id", "_attn_implementation"):
        text.pop(name, None)  # the caller chooses the type; nothing is padded at batch 1
    try:
        config = LlamaConfig(**(LLAMA_DEFAULTS | text))
    except Exception as error:  # validation errors of the library, whose classes have moved
        cause = " ".join(str(error).split())
        raise PolicyError(f"config.json: text_config is not a Llama: {cause}") from error
    if config.tie_word_embeddings:
        raise PolicyError("config.json: text_config.tie_word_embeddings is set; not supported")
    return config
