# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros tiny FOLDER``: a checkpoint of a megabyte in OpenVLA's layout.

Its weights are random: whatever is done with a checkpoint can be tried on it, without one of 15 GB,
and nothing it decides means anything.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.modeling import OpenVLAModel
from vla_infoentropy_ros.share import PACKAGE

VOCAB = 576  # at most 300 pieces of text, then fillers; the last 256 are action tokens
PADDING = 64
EMPTY_WORD = 29871  # its id in Llama's vocabulary, kept in one that is large enough
SENTENCES = [
    "In: What action should the robot take to pick up the red block?\nOut:",
    "In: What action should the robot take to put the blue cup on the green plate?\nOut:",
    "In: What action should the robot take to open the drawer and close it?\nOut:",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:;'-?!",
]
NORM_KEY = "my_robot"


def main(argv: Sequence[str]) -> int:
    """Write it, and say what to do with it."""
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE} tiny",
                                     description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new one, for the files of the checkpoint")
    folder: Path = parser.parse_args(argv).folder
    try:
        write_tiny(folder)
    except PolicyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{folder}: OpenVLA's layout, random weights, statistics {NORM_KEY}; its actions mean "
          f"nothing, so never enable a robot with it. Now:\n"
          f"python -m {PACKAGE} selftest --model {shlex.quote(str(folder))}")
    return 0


def write_tiny(folder: Path) -> None:
    """As a fine-tune leaves it. Raises PolicyError for a folder that is not new, OSError for one
    that cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PolicyError(f"{shown(str(folder))} is there already; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config()
    for name, content in {
        "config.json": config,
        "preprocessor_config.json": tiny_preprocessor(),
        "dataset_statistics.json": {NORM_KEY: action_stats()},
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    save_file(tiny_tensors(OpenVLAConfig.from_mapping(config)), folder / "model.safetensors",
              metadata={"format": "pt"})


def action_stats(offset: float = 0.0) -> dict[str, Any]:
    """One entry of norm_stats: seven quantiles, the gripper passed through."""
    return {
        "action": {
            "q01": [-0.02 + offset, -0.03, -0.04, -0.1, -0.2, -0.3, 0.0],
            "q99": [0.02 + offset, 0.03, 0.04, 0.1, 0.2, 0.3, 1.0],
            "mask": [True] * 6 + [False],
        },
        "num_transitions": 10,
    }


def tiny_config(
    image_size: int = 224, llama: dict[str, Any] | None = None,
    norm_keys: tuple[str, ...] = ("bridge_orig",), vocab: int = VOCAB,
) -> dict[str, Any]:
    """config.json with the published fields, and ``timm_model_args`` that shrink the towers.

    image_size: px, a multiple of 14; 224 gives 256 visual tokens. llama: overrides of the language
    model's config. norm_keys: the training sets that it has statistics of. vocab: tokens of text.
    """
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "model_type": "openvla",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "vision_backbone_id": "dinosiglip-vit-so-224px",
        "timm_model_ids": [
            "vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224",
        ],
        "timm_override_act_layers": [None, None],
        "timm_model_args": [
            {"embed_dim": 32, "depth": 3, "num_heads": 2},
            {"embed_dim": 24, "depth": 3, "num_heads": 2},
        ],
        "image_sizes": [image_size, image_size],
        "use_fused_vision_backbone": True,
        "image_resize_strategy": "resize-naive",
        "llm_backbone_id": "llama2-7b-pure",
        "llm_max_length": 2048,
        "n_action_bins": 256,
        "pad_to_multiple_of": PADDING,
        "text_config": {
            "model_type": "llama", "vocab_size": vocab + PADDING, "hidden_size": 64,
            "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
        } | (llama or {}),
        "norm_stats": {key: action_stats(0.001 * i) for i, key in enumerate(norm_keys)},
    }


def tiny_tensors(config: OpenVLAConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of the published layout, the unused ones of the towers included; unlike zero
    and one, so that every parameter counts, but for the head's rows of words: it says none."""
    model = OpenVLAModel(config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    for tower, settings in zip(("featurizer", "fused_featurizer"), config.towers, strict=True):
        base = f"vision_backbone.{tower}"
        for name in [name for name in shapes if name.startswith(f"{base}.blocks.0.")]:
            shapes[name.replace(".blocks.0.", f".blocks.{settings.depth - 1}.")] = shapes[name]
        shapes |= {f"{base}.norm.weight": (settings.width,), f"{base}.norm.bias": (settings.width,)}
    width = config.towers[1].width
    shapes["vision_backbone.fused_featurizer.attn_pool.latent"] = (1, 1, width)
    shapes["vision_backbone.fused_featurizer.attn_pool.q.weight"] = (width, width)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in sorted(shapes.items()):
        value = torch.randn(shape, generator=generator)
        scale = 0.3 if len(shape) == 1 else min(1.0, (value[0].numel()) ** -0.5)
        gain = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "scale_factor"))
        gain = gain or name.endswith("layernorm.weight")
        tensors[name] = value * scale + (1.0 if gain else 0.0)
    head = tensors["language_model.lm_head.weight"]
    head[: config.action_vocab_size - config.action_bins] = 0.0
    head[config.action_vocab_size :] = 0.0
    return tensors


def tiny_tokenizer(size: int = VOCAB) -> Tokenizer:
    """BPE with the normaliser, the BOS rule and the empty word of Llama's tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))  # noqa: S106 - a piece
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        limit_alphabet=100,
    )
    words = [word for text in SENTENCES for word in text.replace("?\n", " ?\n").split(" ")]
    tokenizer.train_from_iterator(words * 2, trainer)
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for index in range(len(vocab), size):  # as Llama's rare pieces, which become action tokens
        vocab[f"<rare_{index}>"] = index
    if size > EMPTY_WORD:
        vocab[f"<rare_{EMPTY_WORD}>"], vocab["\u2581"] = vocab["\u2581"], EMPTY_WORD
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Replace("\u2581", " ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(["<PAD>"])  # behind the vocabulary, as in openvla-7b
    return tokenizer


def tiny_preprocessor(image_size: int = 224) -> dict[str, Any]:
    """Field for field what the published processor writes."""
    square = [image_size, image_size]
    resize = {"antialias": True, "interpolation": 3, "max_size": None, "size": square}
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "image_resize_strategy": "resize-naive",
        "input_sizes": [[3, *square]] * 2,
        "interpolations": ["bicubic", "bicubic"],
        "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
        "processor_class": "PrismaticProcessor",
        "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
        "tvf_crop_params": [{"output_size": square}] * 2,
        "tvf_do_letterbox": False,
        "tvf_letterbox_fill": None,
        "tvf_normalize_params": [
            {
                "mean": [0.484375, 0.455078125, 0.40625],
                "std": [0.228515625, 0.2236328125, 0.224609375],
                "inplace": False,
            },
            {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "inplace": False},
        ],
        "tvf_resize_params": [resize] * 2,
        "use_fused_vision_backbone": True,
    }
