# SPDX-License-Identifier: Apache-2.0
"""Random pi0 checkpoints of a few hundred kilobytes, in the two layouts that they come in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

from test.models.tiny_smolvla import (
    CAMERAS,
    METRES,
    STATE,
    VOCABULARY,
    random_values,
    tiny_config,
    tiny_statistics,
    tiny_tokenizer,
    write_processors,
)
from vla_infoentropy_ros.models.json_fields import Fields
from vla_infoentropy_ros.models.lerobot.sizes import FlowSizes, TextSizes, VisionSizes
from vla_infoentropy_ros.models.pi0 import config as sizes
from vla_infoentropy_ros.models.pi0.modeling import TIED, Pi0Model
from vla_infoentropy_ros.models.pi0.policy import ORIGIN

SPECIAL = ("<pad>", "<eos>", "<bos>", "<image>")
NAMED = replace(METRES, cameras="top,wrist")  # transformers' layout does not name its cameras
TEXT = TextSizes(48, 64, 4, 1, 12, VOCABULARY, 1e-6)
EXPERT = TextSizes(32, 40, 4, 1, 12, VOCABULARY, 1e-6)
TOWER = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "patch_size": 8,
}
LAYERS, IMAGE, HORIZON = 4, 32, 5
WIDTHS = {"max_state_dim": 10, "max_action_dim": 9, "chunk_size": HORIZON,
          "num_inference_steps": 4, "min_period": 0.004, "max_period": 4.0}


@contextmanager
def tiny_variants() -> Iterator[None]:
    """LeRobot's config.json holds names for sizes: they stand for small ones meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "VARIANTS", {"gemma_2b": TEXT, "gemma_300m": EXPERT})
        patch.setattr(sizes, "LAYERS", LAYERS)
        patch.setattr(sizes, "TOWER", TOWER)
        yield


def write_lerobot_pi0(
    folder: Path, *, cameras: tuple[str, ...] = CAMERAS, seed: int = 0, **settings: Any
) -> Path:
    """As LeRobot writes one, tokenizer.json copied to it. settings: of config.json. 4 x 4 visual
    tokens a camera, chunks of 5 actions, 4 layers."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {name: value for name, value in tiny_config(cameras, STATE, 7).items()
              if name not in ("num_steps", "resize_imgs_with_padding")} | WIDTHS | {
        "type": "pi0", "image_resolution": [IMAGE, IMAGE], "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m", "dtype": "float32", "tokenizer_max_length": 24,
    }
    _write(folder / "config.json", config | settings)
    _save_tokenizer(folder, puts_bos=True)
    write_processors(folder, cameras, line_end="pi0_new_line_processor", origin=ORIGIN)
    tensors = {lerobot_name(name): value for name, value in random_tensors(seed).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_transformers_pi0(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """As transformers' save_pretrained writes model and processor. settings: of config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rope = {"rope_type": "default", "rope_theta": 10000.0}

    def gemma(sizes: TextSizes) -> dict[str, Any]:
        return {
            "model_type": "gemma", "hidden_size": sizes.width, "rope_parameters": rope,
            "intermediate_size": sizes.mlp_width, "num_hidden_layers": LAYERS,
            "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.key_heads,
            "head_dim": sizes.head_width, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6,
            "hidden_act": "gelu_pytorch_tanh", "attention_bias": False,
        }

    vlm = {
        "model_type": "paligemma", "text_config": gemma(TEXT), "projection_dim": TEXT.width,
        "vision_config": TOWER | {"model_type": "siglip_vision_model", "image_size": IMAGE},
    }
    _write(folder / "config.json", WIDTHS | {
        "model_type": "pi0", "architectures": ["PI0ForConditionalGeneration"],
        "vlm_config": vlm, "dit_config": gemma(EXPERT),
    } | settings)
    _write(folder / "processor_config.json", tiny_processor())
    _save_tokenizer(folder, puts_bos=False)
    tensors = random_tensors(seed)
    tensors["model.vlm.language_model.embed_tokens.weight"] = tensors.pop(TIED)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def tiny_processor() -> dict[str, Any]:
    """What PI0Processor saves."""
    stats = {name: value.tolist() for name, value in tiny_statistics().items()}
    half, edge = [0.5, 0.5, 0.5], {"height": IMAGE, "width": IMAGE}
    return {
        "processor_class": "PI0Processor", "chunk_size": HORIZON, "max_state_dim": 10,
        "actions_mean": stats["action.mean"], "actions_std": stats["action.std"],
        "state_mean": stats["observation.state.mean"], "state_std": stats["observation.state.std"],
        "image_processor": {
            "image_processor_type": "PI0ImageProcessor", "do_resize": True, "do_rescale": True,
            "do_normalize": True, "do_pad": True, "image_mean": half, "image_std": half,
            "resample": 3, "pad_size": edge, "size": {"max_height": IMAGE, "max_width": IMAGE},
        },
    }


def random_tensors(seed: int) -> dict[str, torch.Tensor]:
    """By transformers' names, with the two tables of words that a published file has in tied and
    in useless places."""
    config = sizes.Pi0Config(
        TEXT, EXPERT, VisionSizes.read(Fields("", TOWER | {"image_size": IMAGE}), sizes.TOWER_KIND),
        LAYERS, FlowSizes(HORIZON, 4, 10, 9, (0.004, 4.0)), 24,
    )
    with torch.device("meta"):
        model = Pi0Model(config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    shapes[TIED] = shapes.pop("model.vlm.language_model.embed_tokens.weight")
    shapes["model.dit.embed_tokens.weight"] = (VOCABULARY, EXPERT.width)
    # Gemma's norms add the one themselves.
    return random_values(shapes, seed, ("layer_norm1.weight", "layer_norm2.weight"))


def lerobot_name(name: str) -> str:
    """LeRobot's name of a weight that transformers has another for."""
    inner = "model.paligemma_with_expert"
    for ours, theirs in (
        ("model.vlm.vision_tower.", f"{inner}.paligemma.model.vision_tower.vision_model."),
        ("model.vlm.", f"{inner}.paligemma.model."),
        ("model.dit.embed_tokens.", f"{inner}.gemma_expert.lm_head."),
        ("model.dit.", f"{inner}.gemma_expert.model."), ("lm_head.", f"{inner}.paligemma.lm_head."),
        ("embed_action_time.", "model."), ("action_out_proj.", "model.action_out_proj."),
    ):
        if name.startswith(ours):
            return name.replace(ours, theirs, 1)
    raise ValueError(name)


def _save_tokenizer(folder: Path, *, puts_bos: bool) -> None:
    tokenizer = tiny_tokenizer(SPECIAL)
    if puts_bos:  # as PaliGemma's own does, and the processor of transformers turns off
        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2))
