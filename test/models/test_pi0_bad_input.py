# SPDX-License-Identifier: Apache-2.0
"""A pi0 checkpoint that does not fit is refused by one sentence before it moves anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from test.models.test_smolvla_bad_input import change, refused
from test.models.tiny_pi0 import (
    NAMED,
    tiny_processor,
    tiny_variants,
    write_lerobot_pi0,
    write_transformers_pi0,
)
from test.models.tiny_smolvla import METRES, VOCABULARY
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.loading import load_policy


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with tiny_variants():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_lerobot_pi0(tmp_path / "tiny")


@pytest.fixture
def native(tmp_path: Path) -> Path:
    return write_transformers_pi0(tmp_path / "native")


@pytest.mark.parametrize(("setting", "words"), [
    ({"use_relative_actions": True}, ("use_relative_actions", "offsets from the state")),
    ({"adapt_to_pi_aloha": True}, ("adapt_to_pi_aloha", "joint angles of ALOHA")),
    ({"use_delta_joint_actions_aloha": True}, ("use_delta_joint_actions_aloha", "ALOHA")),
    ({"num_steps": 1}, ("num_steps=1", "must be 4, as num_inference_steps", "before 0.4")),
    ({"resize_imgs_with_padding": [448, 224]}, ("resize_imgs_with_padding=[448, 224]", "[32, 32]",
                                                "LeRobot before 0.4")),
    ({"resize_imgs_with_padding": None}, ("resize_imgs_with_padding=null", "before 0.4")),
    ({"proj_width": 64}, ("proj_width=64", "32, the expert's own width", "before 0.4")),
    ({"paligemma_variant": "gemma_7b"}, ("paligemma_variant='gemma_7b'", "gemma_2b")),
    ({"image_resolution": [32, 24]}, ("image_resolution", "two equal multiples")),
    ({"image_resolution": [30, 30]}, ("image_resolution", "two equal multiples")),
    ({"max_state_dim": 4}, ("max_state_dim=4", "8")),
    ({"num_inference_steps": 0}, ("num_inference_steps", "1 to 1000")),
    ({"input_features": {"observation.state": {"type": "STATE", "shape": [8]}}},
     ("names 0 cameras",)),
    ({"output_features": {"action": {"type": "ACTION", "shape": [32]}}},
     ("32 numbers", "joint by joint")),
])
def test_settings_of_lerobots_that_are_not_here(
    folder: Path, setting: dict[str, Any], words: tuple[str, ...]
) -> None:
    change(folder / "config.json", **setting)
    refused(folder, "config.json", *words)


@pytest.mark.parametrize(("part", "setting", "words"), [
    ("dit_config", {"num_hidden_layers": 2}, ("num_hidden_layers=2", "must be 4")),
    ("dit_config", {"head_dim": 16}, ("attention heads", "language model")),
    ("dit_config", {"hidden_size": 33}, ("width=33", "even")),
    ("dit_config", {"attention_bias": True}, ("attention_bias", "false")),
    ("dit_config", {"rope_parameters": {"rope_theta": 1e6}}, ("rope_theta", "10000")),
    ("dit_config", {"rope_theta": 1e6}, ("dit_config.rope_theta", "10000")),
    ("dit_config", {"rope_scaling": {"factor": 2.0}}, ("rope_scaling", "null")),
    ("dit_config", {"rope_parameters": {"type": "linear", "factor": 2.0}},
     ("dit_config.rope_parameters.type='linear'", "default")),
    ("dit_config", {"rope_parameters": {"factor": 2.0}}, ("rope_parameters.rope_type is missing",)),
    ("dit_config", {"num_hidden_layers": None}, ("dit_config.num_hidden_layers is missing",)),
    ("dit_config", {"hidden_activation": "gelu"}, ("hidden_activation='gelu'",)),
    ("dit_config", {"hidden_act": "silu"}, ("hidden_act='silu'", "gelu_pytorch_tanh")),
])
def test_settings_of_transformers_that_are_not_here(
    native: Path, part: str, setting: dict[str, Any], words: tuple[str, ...]
) -> None:
    config = json.loads((native / "config.json").read_text())
    change(native / "config.json", **{part: config[part] | setting})
    refused(native, "config.json", *words, options=NAMED)


def test_settings_of_an_older_lerobot_that_say_the_same(folder: Path) -> None:
    change(folder / "config.json", num_steps=4, resize_imgs_with_padding=[32, 32], proj_width=32)
    assert load_policy(str(folder), METRES, progress=False).flow.steps == 4
    change(folder / "config.json", num_steps=2, num_inference_steps=None)
    assert load_policy(str(folder), METRES, progress=False).flow.steps == 2


@pytest.mark.parametrize(("part", "left_out", "found"), [
    ("vision_config", "num_attention_heads", "num_attention_heads=12 must divide hidden_size=24"),
    ("text_config", "head_dim", "attention heads are not those"),
    ("text_config", "num_key_value_heads", "num_key_value_heads=16 must divide"),
])
def test_a_size_left_out_is_that_of_the_class_in_transformers(
    native: Path, part: str, left_out: str, found: str
) -> None:
    path = native / "config.json"
    vlm = json.loads(path.read_text())["vlm_config"]
    del vlm[part][left_out]
    if part == "vision_config":
        vlm[part]["hidden_size"] = 28  # which 12 heads do not divide, and 14 would
        found = found.replace("24", "28")
    change(path, vlm_config=vlm)
    refused(native, found, options=NAMED)


@pytest.mark.parametrize(("setting", "words"), [
    ({"state_mean": None}, ("state_mean is missing",)),
    ({"actions_std": [0.1] * 6}, ("actions_std", "a list of 7")),
    ({"actions_mean": [0.0] * 6, "actions_std": [0.1] * 6}, ("actions_mean", "joint by joint")),
    ({"state_std": [-0.1] * 8}, ("state_std", "from 0")),
    ({"image_processor": {"resample": 2}}, ("resample=2", "3, cubic")),
    ({"image_processor": {"rescale_factor": 1 / 127.5}}, ("rescale_factor=0.0078", "1/255")),
    ({"image_processor": {"do_center_crop": True}}, ("do_center_crop", "whole pictures")),
    ({"image_processor": {"do_pad": False}}, ("do_pad", "true")),
    ({"image_processor": {"image_mean": [0.4] * 3}}, ("image_mean", "[0.5, 0.5, 0.5]")),
    ({"image_processor": {"size": {"max_height": 64, "max_width": 64}}}, ("max_height=64", "32")),
])
def test_a_processor_that_leaves_something_open(
    native: Path, setting: dict[str, Any], words: tuple[str, ...]
) -> None:
    (native / "processor_config.json").write_text(json.dumps(tiny_processor() | setting))
    refused(native, "processor_config.json", *words, options=NAMED)


def test_no_processor_and_no_names_of_cameras(native: Path) -> None:
    refused(native, "cameras=''", "does not say which cameras", "1 to 3")
    refused(native, "name 1 to 3", options=replace(METRES, cameras="a,b,c,d"))
    (native / "processor_config.json").unlink()
    refused(native, "processor_config.json is missing", "save the processor", options=NAMED)


def test_cameras_in_another_order(folder: Path) -> None:
    refused(folder, "cameras=wrist,top", "trained with top,wrist in this order",
            options=replace(METRES, cameras="wrist,top"))


def test_a_tokenizer_that_is_missing_or_another(folder: Path) -> None:
    path = folder / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace("<bos>", "<beg>"))
    refused(folder, "tokenizer.json has no token '<bos>'", "that the policy was made of")
    path.unlink()
    refused(folder, "tokenizer.json is missing", "google/paligemma-3b-pt-224")


@pytest.mark.parametrize("transformers", [False, True])
def test_tokens_that_were_added_and_have_no_row(
    folder: Path, native: Path, transformers: bool
) -> None:
    """PaliGemma's own tokenizer ends in <image>, token 257152 of a table of 257152 rows."""
    model, options = (native, NAMED) if transformers else (folder, METRES)
    path = model / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    beyond = [f"<loc{index:04}>" for index in range(VOCABULARY)]
    tokenizer.add_special_tokens(beyond)
    tokenizer.save(str(path))
    assert tokenizer.get_vocab_size() > VOCABULARY
    policy = load_policy(str(model), options, progress=False)
    assert policy.tokenize("pick up the red block").token_ids.max() < VOCABULARY
    with pytest.raises(PolicyError, match="reads a part of it as '<loc0319>'"):
        policy.tokenize("pick up <loc0319>")


def test_a_tokenizer_with_more_words_than_the_model(folder: Path) -> None:
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    words = told["model"]["vocab"]
    words |= {f"word{index}": len(words) + index for index in range(VOCABULARY)}
    path.write_text(json.dumps(told))
    refused(folder, f"{len(words)} tokens, the model {VOCABULARY}", "that the policy was made of")


def test_actions_that_are_offsets_by_a_step_of_the_processor(folder: Path) -> None:
    path = folder / "policy_preprocessor.json"
    steps = json.loads(path.read_text())["steps"]
    relative = {"registry_name": "relative_actions_processor", "config": {"enabled": False}}
    change(path, steps=[relative, *steps])
    load_policy(str(folder), METRES, progress=False)  # it does nothing
    relative["config"] = {"enabled": True}
    change(path, steps=[relative, *steps])
    refused(folder, "enabled=True", "false for relative_actions_processor")


def test_weights_of_another_network(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.state_proj.weight"
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors")
    refused(folder, "lacks embed_action_time.state_proj.weight", "a checkpoint of pi0")
    save_file(weights | {"model.time_mlp_in.weight": weights[name].clone()},
              folder / "model.safetensors")
    refused(folder, "no place for: model.time_mlp_in.weight")
