# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that is another model is refused by its name, in a folder and on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from test.models.hub import COMMIT, fake_hub
from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import FAMILIES, MARKS
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import LOADERS, load_policy

KEY = LoadOptions(unnorm_key="bridge_orig")
PINNED = LoadOptions(unnorm_key="bridge_orig", revision=COMMIT)

# What stands in a published modeling_prismatic.py, reduced to what matters.
PLAIN_CODE = "class OpenVLAForActionPrediction(PrismaticForConditionalGeneration):\n    pass\n"
OFT_CODE = (
    "from prismatic.vla.constants import (\n    ACTION_DIM,\n    NUM_ACTIONS_CHUNK,\n)\n"
    "print('this must never run')\nraise SystemExit(1)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "openvla", image_size=56)


def _add(folder: Path, name: str, text: str = "x") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def _refused(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """By the same words wherever the checkpoint lies, and on the hub before weights are fetched."""
    with pytest.raises(PolicyError) as local:
        load_policy(str(folder), KEY, progress=False)
    hub = fake_hub(monkeypatch, folder)
    with pytest.raises(PolicyError) as remote:
        load_policy("owner/name", PINNED, progress=False)
    for word in words:
        assert word in str(local.value) and word in str(remote.value), str(local.value)
    assert str(folder) in str(local.value) and "owner/name" in str(remote.value)
    assert not [name for name in hub.fetched if name.endswith((".safetensors", ".pt"))]


@pytest.mark.parametrize(("name", "words"), [
    ("adapter_config.json", ("a LoRA adapter", "merge_and_unload")),
    ("adapter_model.safetensors", ("a LoRA adapter", "merge_and_unload")),
    ("lora_adapter/adapter_config.json", ("lora_adapter", "a LoRA adapter")),
    ("lora_adapter/README.md", ("lora_adapter", "a LoRA adapter")),
    ("step_100/adapter_config.json", ("step_100/adapter_config.json", "a LoRA adapter")),
    ("action_head--150000_checkpoint.pt", ("action_head--150000_checkpoint.pt", "OpenVLA-OFT")),
    ("action_head.pt", ("OpenVLA-OFT", "one by one")),
    ("proprio_projector--latest_checkpoint.pt", ("OpenVLA-OFT",)),
    ("vision_backbone--50000_checkpoint.pt", ("OpenVLA-OFT", "modulated towers")),
    ("noisy_action_projector--50000_checkpoint.pt", ("OpenVLA-OFT",)),
    ("action_decoder.pt", ("UniVLA",)),
    ("checkpoints/step-295000.pt", ("convert_openvla_weights_to_hf.py",)),
    ("params/_METADATA", ("JAX",)),
])
def test_a_file_that_makes_it_another_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...]
) -> None:
    _add(folder, name)
    _refused(folder, monkeypatch, *words)


def test_an_empty_adapter_folder(folder: Path) -> None:
    (folder / "lora_adapter").mkdir()
    with pytest.raises(PolicyError, match="lora_adapter/, a LoRA adapter"):
        load_policy(str(folder), KEY, progress=False)


def test_an_adapter_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "adapter"
    _add(folder, "adapter_config.json", "{}")
    _add(folder, "adapter_model.safetensors")
    _refused(folder, monkeypatch, "a LoRA adapter", "merge it into the base model")


@pytest.mark.parametrize(("code", "words"), [
    (OFT_CODE, "predicts action chunks at once"),
    ("NUM_ACTIONS_CHUNK = 8\n", "chunks of 8 actions"),
    ('A = {"NUM_ACTIONS_CHUNK": 8}\nB = {"NUM_ACTIONS_CHUNK": 25}\n', "chunks of 8 or 25 actions"),
    ("NUM_ACTIONS_CHUNK: int = 1\n", "chunks of 1 actions"),  # still in both directions
])
def test_oft_with_discrete_tokens_is_told_by_its_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    """Its weights, config and statistics have the same names as OpenVLA's."""
    _add(folder, "modeling_prismatic.py", code)
    _refused(folder, monkeypatch, "is an OpenVLA-OFT checkpoint", words)


def test_code_is_read_whole_or_not_at_all(folder: Path) -> None:
    _add(folder, "modeling_prismatic.py", "#" * (1 << 20) + "\nNUM_ACTIONS_CHUNK = 8\n")
    with pytest.raises(PolicyError, match="at most 1,048,576 are taken"):
        load_policy(str(folder), KEY, progress=False)


@pytest.mark.parametrize("code", [PLAIN_CODE, PLAIN_CODE + "# NUM_ACTIONS_CHUNK: not here\n"])
def test_code_of_openvla_itself_is_no_hindrance_and_never_runs(folder: Path, code: str) -> None:
    _add(folder, "modeling_prismatic.py", code + "\nraise SystemExit('ran')\n")
    _add(folder, "configuration_prismatic.py", "raise SystemExit('ran')\n")
    assert load_policy(str(folder), KEY, progress=False).name == "openvla"


@pytest.mark.parametrize(("config", "words"), [
    ({"type": "pi05"}, ("pi0.5", "robot state as tokens of the prompt")),
    ({"type": "pi0_fast"}, ("pi0-FAST",)),
    ({"model_type": "Gr00tN1d7"}, ("GR00T", "hidden states")),
    ({"type": "groot"}, ("GR00T",)),
    ({"model_type": "gr00t_n1_5"}, ("GR00T",)),
    ({"model_type": "xvla"}, ("X-VLA", "Florence-2")),
    ({"model_type": "prismatic"}, ("not a policy",)),
    ({"type": "act"}, ("policy without language",)),
    ({"model_type": "llava"}, ("model_type='llava'", "'openvla'")),
    ({}, ("model_type=None", "'openvla'")),
    ({"model_type": "openvla", "type": "pi0"}, ("model_type='openvla'", "type='pi0'", "two kinds")),
    ({"model_type": ["openvla"]}, ("model_type=['openvla']",)),
])
def test_other_families_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, config: dict, words: tuple[str, ...]
) -> None:
    _add(folder, "config.json", json.dumps(config))
    _refused(folder, monkeypatch, *words)


def test_the_table_and_the_loaders_agree() -> None:
    assert {family.name for family in FAMILIES if not family.missing} == set(LOADERS)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(mark.what and mark.remedy for mark in MARKS)
