# SPDX-License-Identifier: Apache-2.0
"""A SmolVLA checkpoint or robot that does not fit is refused by one sentence before it moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from test.models.tiny_smolvla import METRES, write_tiny_smolvla
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.smolvla.policy import SmolVLAPolicy
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.session import Session

STATISTICS = "policy_preprocessor_step_5_normalizer_processor.safetensors"
UNNORMALISE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_smolvla(tmp_path / "tiny")


def refused(folder: Path, *words: str, options: LoadOptions = METRES) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(str(folder), options, progress=False)
    sentence = str(caught.value)
    assert all(word in sentence for word in words) and "\n" not in sentence, sentence


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_joint_space_actions(tmp_path: Path) -> None:
    refused(write_tiny_smolvla(tmp_path / "so100", action=6, state=6), "6 numbers",
            "joint by joint", "trained on increments of the end effector")


def test_seven_numbers_that_nobody_vouches_for(folder: Path) -> None:
    refused(folder, "action_units is required", "joint angles", options=LoadOptions())


@pytest.mark.parametrize(("setting", "words"), [
    ({"adapt_to_pi_aloha": True}, ("adapt_to_pi_aloha", "joint angles of ALOHA")),
    ({"add_image_special_tokens": True}, ("add_image_special_tokens", "false")),
    ({"vlm_model_name": 3}, ("vlm_model_name", "a text")),
    ({"resize_imgs_with_padding": [64, 48]}, ("resize_imgs_with_padding", "[64, 64]")),
    ({"resize_imgs_with_padding": None}, ("resize_imgs_with_padding=null", "[64, 64]")),
    ({"num_expert_layers": 2}, ("num_expert_layers", "num_vlm_layers=4")),
    ({"max_state_dim": 4}, ("max_state_dim=4", "8")),
    ({"chunk_size": 0}, ("chunk_size", "1 to 1000")),
    ({"output_features": {}}, ("output_features holds nothing", "action alone")),
    ({"input_features": {"observation.state": {"type": "STATE", "shape": [8]}}},
     ("names 0 cameras",)),
    ({"attention_mode": "sideways"}, ("attention_mode", "cross_attn")),
])
def test_settings_that_are_not_here(folder: Path, setting: dict, words: tuple[str, ...]) -> None:
    change(folder / "config.json", **setting)
    refused(folder, "config.json", *words)


def test_no_tokenizer_and_no_sizes(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, "tokenizer.json is missing", "copy tokenizer.json of tiny/vlm")
    (folder / "vlm_config.json").unlink()
    refused(folder, "vlm_model_name='tiny/vlm'", "copy its config.json here as vlm_config.json")


@pytest.mark.parametrize("name", ["action.mean", "observation.state.std"])
def test_statistics_of_two_trainings(folder: Path, name: str) -> None:
    whole = load_file(folder / UNNORMALISE)
    save_file(whole | {name: whole[name] * 1.5 + 0.01}, folder / UNNORMALISE)
    refused(folder, STATISTICS, UNNORMALISE, f"different {name}", "two trainings")


def test_characters_that_the_tokenizer_lacks(folder: Path) -> None:
    """It may have a sign for them, which says nothing to the policy."""
    words = {word: index for index, word in enumerate(("<?>", "pick", "up", "the", "cup"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<?>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    policy = load_policy(str(folder), METRES, progress=False)
    assert 0 not in policy.tokenize("pick up the cup").token_ids
    with pytest.raises(PolicyError, match="has characters the tokenizer lacks"):
        policy.tokenize("pick up the jar")


@pytest.mark.parametrize("name", ["policy_preprocessor.json", "policy_postprocessor.json"])
def test_statistics_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, f"{name} is missing", "migrate_policy_normalization.py")


def test_a_statistic_missing_or_of_another_size(folder: Path) -> None:
    whole = load_file(folder / UNNORMALISE)
    save_file({k: v for k, v in whole.items() if k != "action.std"}, folder / UNNORMALISE)
    refused(folder, "lacks action.std", "MEAN_STD")
    save_file(whole | {"action.std": whole["action.std"][:6]}, folder / UNNORMALISE)
    refused(folder, "action.std of shape (6,)", "7 finite numbers")
    (folder / UNNORMALISE).write_bytes(b"no weights")
    refused(folder, UNNORMALISE)


@pytest.mark.parametrize(("setting", "words"), [
    ({"norm_map": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}},
     ("VISUAL='MEAN_STD'", "'IDENTITY'")),
    ({"normalize_observation_keys": ["observation.images.top"]},
     ("normalize_observation_keys", "a list with observation.state")),
])
def test_a_normaliser_that_does_more_or_less(
    folder: Path, setting: dict, words: tuple[str, ...]
) -> None:
    path = folder / "policy_preprocessor.json"
    steps = json.loads(path.read_text())["steps"]
    steps[-1]["config"] |= setting
    change(path, steps=steps)
    refused(folder, "policy_preprocessor.json", *words)


@pytest.mark.parametrize(("part", "setting", "word"), [
    ("text_config", {"hidden_act": "gelu"}, "'silu'"),
    ("vision_config", {"hidden_act": "gelu"}, "'gelu_pytorch_tanh'"),
    ("vision_config", {"layer_norm_eps": 1e-5}, "1e-06, as SigLIP has it"),
    ("vision_config", {"num_attention_heads": None, "model_type": "siglip_vision_model",
                       "hidden_size": 28}, "num_attention_heads=12 must divide hidden_size=28"),
    ("vision_config", {"num_attention_heads": None}, "num_attention_heads=16 must divide"),
    ("vision_config", {"num_attention_heads": None, "model_type": "dinov2"},
     "num_attention_heads is missing"),
    ("text_config", {"head_dim": None, "model_type": "mistral"}, "head_dim is missing"),
])
def test_a_language_model_or_tower_of_another_kind(
    folder: Path, part: str, setting: dict, word: str
) -> None:
    """Nothing of it shows in the shapes of weights."""
    path = folder / "vlm_config.json"
    change(path, **{part: json.loads(path.read_text())[part] | setting})
    refused(folder, "vlm_config.json", part, next(iter(setting)), word)


def test_a_norm_left_out_is_llamas_own(folder: Path) -> None:
    path = folder / "vlm_config.json"
    text = json.loads(path.read_text())["text_config"]
    change(path, text_config=text | {"rms_norm_eps": None})
    policy = load_policy(str(folder), METRES, progress=False)
    assert isinstance(policy, SmolVLAPolicy) and policy.config.text.epsilon == 1e-6


def test_a_step_that_is_not_here(folder: Path) -> None:
    path = folder / "policy_preprocessor.json"
    steps = json.loads(path.read_text())["steps"]
    change(path, steps=[*steps, {"registry_name": "delta_actions", "config": {}}])
    refused(folder, "the step 'delta_actions' is not known here")
    change(path, steps=steps[:-1])
    refused(folder, "has 0 steps normalizer_processor")


@pytest.mark.parametrize(("cameras", "words"), [
    ("wrist,top", ("trained with top,wrist in this order", "remap image, wrist_image")),
    ("top", ("trained with top,wrist", "give it these")),
    ("top,side", ("trained with top,wrist",)),
])
def test_cameras_missing_or_in_another_order(
    folder: Path, cameras: str, words: tuple[str, ...]
) -> None:
    refused(folder, f"cameras={cameras}", *words, options=replace(METRES, cameras=cameras))


def test_cameras_in_the_order_of_training(folder: Path) -> None:
    options = replace(METRES, cameras="top, wrist")
    assert load_policy(str(folder), options, progress=False).views == 2


@pytest.mark.parametrize(("option", "says"), [
    ({"crop": "centre_0.9_area"}, "whole pictures"), ({"unnorm_key": "bridge"}, "unnorm_key"),
])
def test_options_of_others(folder: Path, option: dict, says: str) -> None:
    refused(folder, says, options=replace(METRES, **option))


def test_weights_of_another_network(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.state_proj.weight"
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors")
    refused(folder, f"lacks {name}", "a checkpoint of SmolVLA")
    save_file(weights | {name: weights[name][:, :4].contiguous()}, folder / "model.safetensors")
    refused(folder, f"{name} is (48, 4), must be (48, 10)")
    save_file(weights | {"model.extra": weights[name].clone()}, folder / "model.safetensors")
    refused(folder, "no place for: model.extra")


def test_an_expert_whose_attention_no_probe_can_read(folder: Path, tmp_path: Path) -> None:
    settings = SelectionSettings(drift_rows="action")
    selector = build_selector("attention_drift", settings=settings)
    policy = load_policy(str(folder), METRES, progress=False)
    with pytest.raises(SettingError, match="leaves none to read; set drift_rows to text"):
        Session(policy, selector)
    plain = write_tiny_smolvla(tmp_path / "plain", attention_mode="self_attn")
    Session(load_policy(str(plain), METRES, progress=False), selector)


def test_pictures_and_states_that_do_not_fit(folder: Path) -> None:
    policy = load_policy(str(folder), METRES, progress=False)
    assert isinstance(policy, SmolVLAPolicy)
    session = Session(policy, build_selector("dense"))
    session.set_instruction("pick up the red block")
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    neutral = policy.proprioception.offset
    with pytest.raises(PolicyError, match=r"1 pictures given.*top.*wrist, in this order"):
        session.step([picture], state=neutral)
    for state, says in (
        (None, "needs the robot's state, 8 numbers"), (neutral[:7], "trained with 8 numbers"),
        (neutral * np.nan, "finite"), (["left"] * 8, "must be 8 numbers"),
        ([[0.0], [0.0, 1.0]], "must be 8 numbers"),
    ):
        with pytest.raises(PolicyError, match=says):
            session.step([picture] * 2, state=state)
    assert session.step([picture] * 2, state=neutral).report.fresh == 32
