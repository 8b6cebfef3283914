# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a checkpoint's JSON: it loads and runs, or a PolicyError names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import REMEDY, Fields
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import load_openvla
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.tiny import VOCAB, tiny_config
from vla_infoentropy_ros.models.rope import read_rope
from vla_infoentropy_ros.selftest import main

CONFIG, PICTURES, NESTED, STATISTICS, INDEX = (
    "config.json", "preprocessor_config.json", "processor_config.json", "dataset_statistics.json",
    "model.safetensors.index.json",
)
KEY = {STATISTICS: "my_robot"}  # of the statistics in use; config.json's else
Change = tuple[str, tuple[str | int, ...], Any]

# Fields that the small checkpoint leaves out.
ABSENT: list[tuple[str, tuple[str | int, ...]]] = [
    *((CONFIG, ("text_config", name)) for name in (
        "num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rope_parameters",
        "rms_norm_eps", "hidden_act", "max_position_embeddings", "tie_word_embeddings",
        "attention_bias", "mlp_bias", "bos_token_id", "eos_token_id", "pad_token_id",
        "return_dict", "output_attentions", "use_cache", "quantization_config",
    )),
    *((CONFIG, ("timm_model_args", 0, name)) for name in (
        "patch_size", "mlp_ratio", "class_token", "reg_tokens", "layer_scale", "colour",
    )),
    (CONFIG, ("quantization_config",)),
    *((PICTURES, (name,)) for name in ("image_processor", "do_resize", "size")),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each file: of a fine-tune for its statistics, sharded for the index."""
    root = tmp_path_factory.mktemp("json")
    plain = write_tiny_openvla(root / "plain", image_size=56)
    newer = Path(shutil.copytree(plain, root / "newer"))  # as transformers 5 saves it
    pictures = json.loads((newer / PICTURES).read_text())
    (newer / PICTURES).unlink()
    (newer / NESTED).write_text(json.dumps({"image_processor": pictures}))
    return {
        CONFIG: plain,
        PICTURES: plain,
        NESTED: newer,
        STATISTICS: write_tiny_openvla(root / "tuned", image_size=56, dataset_statistics=True),
        INDEX: write_tiny_openvla(root / "sharded", image_size=56, sharded=True),
    }


@pytest.fixture(scope="module")
def folders(originals: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Copies whose JSON the tests overwrite."""
    root = tmp_path_factory.mktemp("changed")
    return {
        name: Path(shutil.copytree(folder, root / name)) for name, folder in originals.items()
    }


def _changed(originals: dict[str, Path], folders: dict[str, Path], change: Change) -> Path:
    """The folder in which one place of one file holds another value."""
    name, place, value = change
    content = json.loads((originals[name] / name).read_text())
    if place:
        owner = content
        for step in place[:-1]:
            owner = owner[step]
        owner[place[-1]] = value
    (folders[name] / name).write_text(json.dumps(content if place else value))
    return folders[name]


def _load_and_use(folder: Path, key: str) -> None:
    policy = load_openvla(folder, LoadOptions(unnorm_key=key), progress=False)
    picture = np.zeros((20, 30, 3), np.uint8)
    pixels = policy.preprocess([picture]).pixels
    assert np.isfinite(pixels.numpy()).all() and pixels.abs().max() < 1e4
    assert policy.embed_vision(pixels).shape == (16, 64)
    policy.tokenize("pick up the red block")
    assert np.isfinite(policy.decode_action([500] * 7).values).all()


@pytest.mark.parametrize(("change", "words"), [
    ((CONFIG, ("image_sizes",), 56), ("image_sizes=56", "a list of 2 integers")),
    ((CONFIG, ("image_sizes",), [56, "x"]), ("image_sizes=[56, 'x']", "multiples")),
    ((CONFIG, ("image_sizes",), [0, 0]), ("image_sizes=[0, 0]",)),
    ((CONFIG, ("text_config",), [1]), ("text_config=[1]", "an object")),
    ((CONFIG, ("text_config", "vocab_size"), "x"), ("text_config.vocab_size='x'",)),
    ((CONFIG, ("text_config", "hidden_act"), "bogus"), ("text_config.hidden_act='bogus'",)),
    ((CONFIG, ("text_config", "rope_theta"), "x"), ("text_config.rope_theta='x'",)),
    ((CONFIG, ("text_config", "rope_scaling"), {"type": "x"}),
     ("text_config.rope_scaling.type='x'", "linear")),
    ((CONFIG, ("text_config", "rope_scaling"), {"factor": 4.0}),
     ("text_config.rope_scaling.rope_type is missing", "linear")),
    ((CONFIG, ("text_config", "rope_scaling"), {"type": "linear"}), ("factor is missing",)),
    ((CONFIG, ("text_config", "rope_scaling"), {"type": "linear", "factor": 0.5}),
     ("factor=0.5", "from 1")),
    ((CONFIG, ("text_config", "rope_scaling"), {"type": "linear", "rope_type": "dynamic"}),
     ("rope_scaling.type='linear'", "'dynamic'")),
    ((CONFIG, ("text_config", "rope_parameters"), {"rope_type": "default", "factor": 4.0}),
     ("rope_parameters.factor=4.0", "absent")),
    ((CONFIG, ("text_config", "rope_parameters"), {"rope_type": "default", "beta_fast": 4.0}),
     ("rope_parameters.beta_fast=4.0", "absent")),
    ((CONFIG, ("text_config", "num_key_value_heads"), 3), ("num_key_value_heads=3",)),
    ((CONFIG, ("text_config", "num_hidden_layers"), 10**9), ("num_hidden_layers=1000000000",)),
    ((CONFIG, ("pad_to_multiple_of",), "x"), ("pad_to_multiple_of='x'", "an integer")),
    ((CONFIG, ("pad_to_multiple_of",), -64), ("pad_to_multiple_of=-64",)),
    ((CONFIG, ("n_action_bins",), True), ("n_action_bins=True",)),
    ((CONFIG, ("llm_max_length",), [1]), ("llm_max_length=[1]",)),
    ((CONFIG, ("llm_max_length",), 20), ("llm_max_length", "20 positions")),
    ((CONFIG, ("norm_stats",), [1, 2]), ("norm_stats=[1, 2]", "an object")),
    ((CONFIG, ("norm_stats", "bridge_orig"), 1), ("norm_stats.bridge_orig=1",)),
    ((CONFIG, ("use_fused_vision_backbone",), "no"), ("use_fused_vision_backbone='no'",)),
    ((CONFIG, ("vision_backbone_id",), ["x"]), ("vision_backbone_id=['x']",)),
    ((CONFIG, ("timm_model_ids",), [["x"], 1]), ("timm_model_ids=[['x'], 1]",)),
    ((CONFIG, ("timm_model_ids",), "ab"), ("timm_model_ids='ab'",)),
    ((CONFIG, ("timm_override_act_layers",), 3), ("timm_override_act_layers=3",)),
    ((CONFIG, ("timm_model_args",), [1, 2]), ("timm_model_args=[1, 2]", "2 objects")),
    ((CONFIG, ("timm_model_args", 1, "depth"), "3"), ("timm_model_args[1].depth='3'",)),
    ((CONFIG, ("timm_model_args", 0, "num_heads"), 5), ("timm_model_args[0]", "num_heads=5")),
    ((CONFIG, ("image_resize_strategy",), {}), ("image_resize_strategy={}",)),
    ((PICTURES, ("tvf_normalize_params", 1), {"mean": [0.5] * 3}),
     ("tvf_normalize_params[1].std is missing",)),
    ((PICTURES, ("tvf_normalize_params",), "x"), ("tvf_normalize_params='x'",)),
    ((PICTURES, ("tvf_normalize_params", 0, "mean"), [123.7, 116.3, 103.5]), ("from 0 to 1",)),
    ((PICTURES, ("tvf_letterbox_fill",), [30, 0, 0]), ("tvf_letterbox_fill=[30, 0, 0]", "no bars")),
    ((NESTED, ("image_processor",), [1]), ("image_processor=[1]", "an object")),
    ((NESTED, ("image_processor", "interpolations"), "x"), ("image_processor.interpolations='x'",)),
    ((STATISTICS, ("my_robot", "action", "mask"), ["false"] * 7), ("my_robot.action.mask=",)),
    ((STATISTICS, ("my_robot", "action", "q01"), ["0"] * 7), ("my_robot.action.q01=",)),
    ((STATISTICS, ("my_robot", "action"), None), ("my_robot.action is missing",)),
    ((INDEX, ("weight_map",), [1]), ("weight_map=[1]",)),
    ((INDEX, ("weight_map", "projector.fc1.weight"), None), ("projector.fc1.weight",)),
    ((INDEX, ("weight_map", "projector.fc1.weight"), "../x.safetensors"), ("same folder",)),
])  # fmt: skip
def test_wrong_values_are_named(
    originals: dict, folders: dict, change: Change, words: tuple[str, ...]
) -> None:
    folder = _changed(originals, folders, change)
    with pytest.raises(PolicyError) as caught:
        _load_and_use(folder, KEY.get(change[0], "bridge_orig"))
    for word in (change[0], *words, REMEDY):
        assert word in str(caught.value), str(caught.value)


LINEAR = {"type": "linear", "factor": 4.0}


@pytest.mark.parametrize(("told", "says"), [
    ({"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 777.0}},
     "text_config.rope_parameters.rope_theta=777.0: must be 500000"),
    ({"rope_theta": 5e5, "rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default"}},
     "text_config.rope_scaling={'type': 'linear', 'factor': 4.0}: must be what rope_parameters"),
    ({"rope_parameters": LINEAR | {"rope_theta": 8.0},
      "rope_scaling": LINEAR | {"rope_theta": 9.0}},
     "text_config.rope_scaling.rope_theta=9.0: must be 8"),
])
def test_a_rotary_embedding_that_is_told_in_two_ways(told: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_rope(Fields(CONFIG, told, "text_config."))
    assert says in str(caught.value)


@pytest.mark.parametrize(("told", "read"), [
    ({}, {"rope_type": "default", "rope_theta": 10_000.0}),
    ({"rope_theta": None, "rope_scaling": {}}, {"rope_type": "default", "rope_theta": 10_000.0}),
    ({"rope_theta": 5e5, "rope_scaling": LINEAR},
     {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}),
    ({"rope_theta": 5e5, "rope_scaling": LINEAR, "rope_parameters": {
        "rope_type": "linear", "factor": 4, "rope_theta": 500_000}},
     {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}},
     {"rope_type": "default", "rope_theta": 777.0}),
])
def test_a_rotary_embedding_is_read_from_where_it_is_told(
    told: dict[str, Any], read: dict[str, Any]
) -> None:
    assert read_rope(Fields(CONFIG, told)) == read
    llama = tiny_config(56, told, ("bridge_orig",), VOCAB)
    given = OpenVLAConfig.from_mapping(llama).llama.rope_parameters
    assert {name: given[name] for name in read} == read


@pytest.mark.parametrize("text", ["[" * 100_000, "1e", "null", "[]", '"x"', "9" * 5000])
@pytest.mark.parametrize("name", [CONFIG, PICTURES, NESTED, STATISTICS, INDEX])
def test_files_that_hold_no_object(originals: dict, folders: dict, name: str, text: str) -> None:
    (folders[name] / name).write_text(text)
    with pytest.raises(PolicyError, match=name):
        _load_and_use(folders[name], KEY.get(name, "bridge_orig"))


def test_the_command_says_it_in_one_line(
    originals: dict, folders: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _changed(originals, folders, (CONFIG, ("image_sizes",), 56))
    assert main(["--model", str(folder), "--unnorm-key", "bridge_orig"]) == 1
    assert "FAIL  loading  config.json: image_sizes=56: must be" in capsys.readouterr().out


def test_null_is_as_good_as_absent(originals: dict, folders: dict) -> None:
    """As libraries write what nobody set."""
    for place in (("n_action_bins",), ("pad_to_multiple_of",), ("timm_override_act_layers",),
                  ("text_config", "rope_scaling"), ("text_config", "head_dim")):
        _load_and_use(_changed(originals, folders, (CONFIG, place, None)), "bridge_orig")


def _places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, itself included; of long lists the first two entries."""
    yield place
    entries = value.items() if isinstance(value, dict) else (
        list(enumerate(value))[:2] if isinstance(value, list) else ()
    )
    for name, entry in entries:
        yield from _places(entry, (*place, name))


NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([2**31, 10**18, 2**63, 10**40])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(NUMBERS, min_size=7, max_size=7),
        st.dictionaries(
            st.sampled_from(["action", "mean", "std", "q01", "rope_type", "factor", "x"]), inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(data=st.data())
def test_any_value_anywhere(originals: dict, folders: dict, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([CONFIG, CONFIG, CONFIG, PICTURES, NESTED, STATISTICS, INDEX]))
    content = json.loads((originals[name] / name).read_text())
    places = [*_places(content), *(place for file, place in ABSENT if file == name)]
    change = (name, data.draw(st.sampled_from(places)), data.draw(VALUES))
    try:
        _load_and_use(_changed(originals, folders, change), KEY.get(name, "bridge_orig"))
    except PolicyError as error:
        assert len(str(error)) < 1000
