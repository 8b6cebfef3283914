# SPDX-License-Identifier: Apache-2.0
"""Random SmolVLA checkpoints of a few hundred kilobytes, in the layout that LeRobot writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.smolvla.config import SmolVLAConfig
from vla_infoentropy_ros.models.smolvla.modeling import SmolVLAModel

VOCABULARY = 320
STATE = 8  # as LIBERO has it: position, axis times angle, two fingers
CAMERAS = ("observation.images.top", "observation.images.wrist")
METRES = LoadOptions(action_units="si", trained_rotation="rpy", control_period_s=0.2, crop="none")
VLM = {
    "model_type": "smolvlm", "scale_factor": 2,
    "text_config": {
        "hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
        "num_hidden_layers": 6,
    },
    "vision_config": {
        "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "patch_size": 8, "image_size": 64,
    },
}


def write_tiny_smolvla(
    folder: Path, *, cameras: tuple[str, ...] = CAMERAS, seed: int = 0, action: int = 7,
    state: int = STATE, **settings: Any,
) -> Path:
    """A checkpoint folder with tokenizer.json and vlm_config.json, which are copied to it.

    settings: of config.json. Weights are random, unlike zero or one everywhere, so that every
    parameter counts. 4 x 4 visual tokens a camera, chunks of 5 actions, 4 layers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(cameras, state, action) | settings
    _write(folder / "config.json", config)
    _write(folder / "vlm_config.json", VLM)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    write_processors(folder, cameras, state, action)
    if action == 7:
        tensors = random_tensors(SmolVLAConfig.read(folder), seed)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:  # refused before its weights are looked at
        save_file({}, folder / "model.safetensors")
    return folder


def tiny_config(cameras: tuple[str, ...], state: int, action: int) -> dict[str, Any]:
    pictures = {name: {"type": "VISUAL", "shape": [3, 48, 64]} for name in cameras}
    return {
        "type": "smolvla", "n_obs_steps": 1,
        "normalization_mapping": {
            "VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD",
        },
        "input_features": {"observation.state": {"type": "STATE", "shape": [state]}} | pictures,
        "output_features": {"action": {"type": "ACTION", "shape": [action]}},
        "device": "cpu", "use_amp": False, "chunk_size": 5, "n_action_steps": 5,
        "max_state_dim": 10, "max_action_dim": 9, "resize_imgs_with_padding": [64, 64],
        "empty_cameras": 0, "adapt_to_pi_aloha": False, "use_delta_joint_actions_aloha": False,
        "tokenizer_max_length": 24, "num_steps": 4, "use_cache": True,
        "vlm_model_name": "tiny/vlm", "load_vlm_weights": False,
        "add_image_special_tokens": False, "attention_mode": "cross_attn", "prefix_length": 0,
        "pad_language_to": "max_length", "num_expert_layers": 0, "num_vlm_layers": 4,
        "self_attn_every_n_layers": 2, "expert_width_multiplier": 0.75, "min_period": 0.004,
        "max_period": 4.0,
    }


def write_processors(
    folder: Path, cameras: tuple[str, ...] = CAMERAS, state: int = STATE, action: int = 7,
    line_end: str = "smolvla_new_line_processor", origin: str = "tiny/vlm",
) -> None:
    """Field for field what LeRobot 0.4 writes."""
    features = {"observation.state": {"type": "STATE", "shape": [state]}} | {
        name: {"type": "VISUAL", "shape": [3, 48, 64]} for name in cameras
    }
    output = {"action": {"type": "ACTION", "shape": [action]}}
    norms = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
    before = "policy_preprocessor_step_5_normalizer_processor.safetensors"
    after = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
    _write(folder / "policy_preprocessor.json", {"name": "policy_preprocessor", "steps": [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        {"registry_name": line_end, "config": {}},
        {"registry_name": "tokenizer_processor", "config": {
            "max_length": 24, "task_key": "task", "padding_side": "right",
            "padding": "max_length", "truncation": True, "tokenizer_name": origin,
        }},
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
        {"registry_name": "normalizer_processor", "state_file": before,
         "config": {"eps": 1e-8, "features": features | output, "norm_map": norms}},
    ]})
    _write(folder / "policy_postprocessor.json", {"name": "policy_postprocessor", "steps": [
        {"registry_name": "unnormalizer_processor", "state_file": after,
         "config": {"eps": 1e-8, "features": output, "norm_map": norms}},
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
    ]})
    statistics = tiny_statistics(state, action)
    save_file(statistics, folder / before)
    save_file(statistics, folder / after)


def tiny_statistics(state: int = STATE, action: int = 7) -> dict[str, torch.Tensor]:
    """Increments of centimetres, a gripper in two states, joints near a third of a radian."""
    reach = torch.tensor([0.04] * 3 + [0.1] * 3 + [0.0] * (action - 6))[:action]
    high, low = reach.clone(), -reach
    mean, std = torch.full((action,), 0.001), reach / 3
    high[-1], low[-1], mean[-1], std[-1] = 1.0, 0.0, 0.5, 0.5
    places = torch.arange(state) * 0.1
    return {
        "action.mean": mean, "action.std": std, "action.min": low, "action.max": high,
        "observation.state.mean": places, "observation.state.std": 0.3 + 0.01 * places,
        "observation.state.min": places - 1.0, "observation.state.max": places + 1.0,
    }


def random_tensors(config: SmolVLAConfig, seed: int) -> dict[str, torch.Tensor]:
    """Every tensor of the published layout, the language model's unused head included."""
    with torch.device("meta"):
        model = SmolVLAModel(config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    shapes["model.vlm_with_expert.vlm.lm_head.weight"] = (VOCABULARY, config.text.width)
    gains = ("norm.weight", "norm1.weight", "norm2.weight")
    return random_values(shapes, seed, gains)


def random_values(
    shapes: dict[str, tuple[int, ...]], seed: int, gains: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """Values of every shape, those whose names end in one of ``gains`` around one."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in sorted(shapes.items()):
        value = torch.randn(shape, generator=generator)
        scale = 0.3 if len(shape) == 1 else min(1.0, (value[0].numel()) ** -0.5)
        tensors[name] = value * scale + (1.0 if name.endswith(gains) else 0.0)
    return tensors


def tiny_tokenizer(
    special: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<image>")
) -> Tokenizer:
    """BPE over bytes, digits one by one, as SmolVLM2 has it; no sign before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["pick up the red block\n", "put the blue cup on it\n"], trainer)
    return tokenizer


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2))
