# SPDX-License-Identifier: Apache-2.0
"""Every tensor has one source; of two, neither is taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from test.models.hub import COMMIT, fake_hub
from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "single", image_size=56)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "sharded", image_size=56, sharded=True)


def _load(model: str | Path, **options: Any) -> None:
    load_policy(str(model), LoadOptions(unnorm_key="bridge_orig", **options), progress=False)


def _refused(model: str | Path, *words: str, **options: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        _load(model, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _change(path: Path, change: Callable[[dict], Any], metadata: dict | None = None) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata or {"format": "pt"})


def _change_index(folder: Path, change: Callable[[dict], Any]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("name", [
    SINGLE, "pytorch_model.bin", "model-00003-of-00003.safetensors", "model.bf16.safetensors",
    "consolidated.00.pth", "model.gguf", "head.pt",
])
def test_weights_beside_the_indexed_ones(
    sharded: Path, single: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On the hub as well, and there before 15 GB of either are fetched."""
    shutil.copy(single / SINGLE, sharded / name)
    words = (f"holds {name} beside the weights of {INDEX}", "keep the one that is meant")
    _refused(sharded, *words)
    hub = fake_hub(monkeypatch, sharded)
    _refused("owner/name", *words, revision=COMMIT)
    assert not [file for file in hub.fetched if file.endswith(".safetensors")]


@pytest.mark.parametrize("name", ["pytorch_model.bin", FIRST, "policy_head.safetensors"])
def test_weights_beside_the_single_file(single: Path, name: str) -> None:
    (single / name).write_bytes(b"x")
    _refused(single, f"holds {name} beside the weights of {SINGLE}")


@pytest.mark.parametrize("name", [
    "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "trainer_state.json",
    "events.log", "checkpoint-500/model.safetensors",
])
def test_what_trainers_leave_behind_is_no_hindrance(single: Path, name: str) -> None:
    (single / name).parent.mkdir(exist_ok=True)
    (single / name).write_text("{}")
    _load(single)


def test_a_plain_and_a_wrapped_copy(single: Path) -> None:
    name = "projector.fc3.bias"
    for wrapped in (f"base_model.model.{name}", f"module.{name}"):
        _change(single / SINGLE, lambda t, w=wrapped: t.update({w: t[name] + 1}))
        _refused(single, "two copies of one tensor", name, wrapped, "merge_and_unload")
        _change(single / SINGLE, lambda t, w=wrapped: t.pop(w))
    _load(single)


def test_a_layer_scale_under_both_its_names(single: Path) -> None:
    name = "vision_backbone.featurizer.blocks.0.ls1.scale_factor"
    gamma = name.replace("scale_factor", "gamma")
    _change(single / SINGLE, lambda t: t.update({gamma: t[name] + 1}))
    _refused(single, "two copies of one tensor", name, gamma)


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    moved = sorted(load_file(sharded / FIRST))[0]
    _change(sharded / SECOND, lambda t: t.update({moved: torch.zeros(3)}))
    _refused(sharded, SECOND, moved, f"takes from {FIRST}", "different saves")


def test_a_tensor_that_the_index_does_not_name(sharded: Path) -> None:
    _change(sharded / SECOND, lambda t: t.update({"projector.fc4.bias": torch.zeros(3)}))
    _refused(sharded, SECOND, "projector.fc4.bias", "does not name")


def test_a_tensor_that_the_index_promises(sharded: Path) -> None:
    _change_index(sharded, lambda names: names.update({"projector.fc9.weight": FIRST}))
    _refused(sharded, FIRST, "lacks projector.fc9.weight", INDEX)


@pytest.mark.parametrize("other", ["model-00002-of-00003.safetensors", "last.safetensors"])
def test_shards_that_are_numbered_otherwise(sharded: Path, other: str) -> None:
    (sharded / SECOND).rename(sharded / other)
    _change_index(sharded, lambda names: names.update(
        {name: other for name, file in names.items() if file == SECOND}
    ))
    _refused(sharded, FIRST, other, "one training step")


def test_shards_that_say_another_training_step(sharded: Path) -> None:
    for name, step in ((FIRST, "5000"), (SECOND, "10000")):
        _change(sharded / name, lambda _: None, {"format": "pt", "step": step})
    _refused(sharded, FIRST, SECOND, "step='5000'", "'10000'", "not saved together")


def test_shards_without_numbers_load(sharded: Path) -> None:
    for old, new in ((FIRST, "a.safetensors"), (SECOND, "b.safetensors")):
        (sharded / old).rename(sharded / new)
        _change_index(sharded, lambda names, old=old, new=new: names.update(
            {name: new for name, file in names.items() if file == old}
        ))
    _load(sharded)


def test_missing_shard(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sharded / SECOND).unlink()
    _refused(sharded, "1 of 2 shards are missing", SECOND)
    fake_hub(monkeypatch, sharded)
    _refused("owner/name", "1 of 2 shards are missing", revision=COMMIT)


def test_truncated_file(single: Path) -> None:
    path = single / SINGLE
    path.write_bytes(path.read_bytes()[:-100])
    _refused(single, SINGLE, "damaged or incomplete")


def test_pickled_weights_only(single: Path) -> None:
    (single / SINGLE).rename(single / "pytorch_model.bin")
    _refused(single, "pickled weights only", "safetensors")


def test_no_weights_at_all(single: Path) -> None:
    (single / SINGLE).unlink()
    _refused(single, f"neither {INDEX} nor {SINGLE}")


@pytest.mark.parametrize(("file", "name"), [
    ("config.json", "image_sizes"), (INDEX, "weight_map"), ("preprocessor_config.json", "means"),
    ("dataset_statistics.json", "my_robot"),
])
def test_one_name_with_two_values(sharded: Path, tmp_path: Path, file: str, name: str) -> None:
    """The last would win in every JSON reader."""
    write_tiny_openvla(tmp_path / "sharded", image_size=56, sharded=True, dataset_statistics=True)
    text = (sharded / file).read_text()
    value = json.dumps(json.loads(text)[name])
    (sharded / file).write_text(f'{{"{name}": {value}, {text.strip()[1:]}')
    with pytest.raises(PolicyError) as caught:
        load_policy(str(sharded), progress=False)
    assert file in str(caught.value) and f"'{name}' stands twice" in str(caught.value)
