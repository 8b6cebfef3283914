# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a checkpoint or its input is said before anything moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models import environment
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy, load_openvla
from vla_infoentropy_ros.models.openvla.tiny import tiny_tokenizer

KEY = LoadOptions(unnorm_key="bridge_orig")


def _refused(folder: Path | str, *words: str, **options: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        load_openvla(folder, replace(KEY, **options), progress=False)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _change_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def _change_tensors(folder: Path, change: Any) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "openvla", image_size=56)


def test_wrong_shapes(folder: Path) -> None:
    _change_tensors(folder, lambda t: t.update({"projector.fc2.bias": torch.zeros(5)}))
    _refused(folder, "projector.fc2.bias is (5,), must be (64,)")


def test_missing_and_unexpected_tensors(folder: Path) -> None:
    _change_tensors(folder, lambda t: t.pop("projector.fc3.weight"))
    _refused(folder, "lacks projector.fc3.weight")
    _change_tensors(folder, lambda t: t.update({
        "projector.fc3.weight": torch.zeros(64, 64), "projector.fc4.weight": torch.zeros(2)}))
    _refused(folder, "has no place for: projector.fc4.weight")


def test_unmerged_lora(folder: Path) -> None:
    name = "base_model.model.projector.fc1.lora_A.default.weight"
    _change_tensors(folder, lambda t: t.update({name: torch.zeros(2)}))
    _refused(folder, "unmerged LoRA", "merge_and_unload")


def test_quantised_weights(folder: Path) -> None:
    name = "projector.fc3.weight"
    _change_tensors(folder, lambda t: t.update({name: t[name].to(torch.int8)}))
    _refused(folder, "projector.fc3.weight (I8)", "quantised")


def test_wrong_device(folder: Path) -> None:
    _refused(folder, "device='gpu'", "cpu", device="gpu")
    _refused(folder, "device='cuda:99'", "CUDA devices", device="cuda:99")


def test_no_norm_stats(folder: Path) -> None:
    _refused(_change_config(folder, norm_stats=None), "no norm_stats", "dataset_statistics.json")


def test_unknown_and_ambiguous_key(folder: Path) -> None:
    both = "bridge_orig, fractal20220817_data"
    _refused(folder, "'kitchen'", both, unnorm_key="kitchen")
    _refused(folder, "unnorm_key is required", both, unnorm_key="")


@pytest.mark.parametrize(("stats", "word"), [
    ({"bridge_orig": {"proprio": {}}}, "action is missing"),
    ({"bridge_orig": {"action": {"q01": [0.0] * 7}}}, "q99"),
    ({"bridge_orig": {"action": {"q01": [0.0] * 14, "q99": [1.0] * 14}}}, "14 action values"),
    ({"bridge_orig": {"action": {"q01": [float("nan")] * 7, "q99": [1.0] * 7}}}, "q01=[nan"),
])
def test_unusable_statistics(folder: Path, stats: dict, word: str) -> None:
    _refused(_change_config(folder, norm_stats=stats), word)


def test_empty_statistics_of_a_fine_tune(folder: Path) -> None:
    """They are missing; those of the base model, in config.json, must not stand in for them."""
    (folder / "dataset_statistics.json").write_text("{}")
    for key in ("", "bridge_orig"):
        _refused(folder, "dataset_statistics.json is empty", "that training wrote", unnorm_key=key)


@pytest.mark.parametrize(("padding", "implied"), [(32, 608), (0, 640), (63, 577), (65, 575)])
def test_vocabulary_that_does_not_end_where_the_tokenizer_does(
    folder: Path, padding: int, implied: int
) -> None:
    """Action tokens are counted from that end: a whole action would be off by the difference."""
    _refused(
        _change_config(folder, pad_to_multiple_of=padding), "tokenizer.json has 576 tokens",
        f"config.json implies {implied}", f"pad_to_multiple_of={padding}",
        "pad_to_multiple_of is 64",
    )


def test_tokenizer_larger_than_the_model(folder: Path) -> None:
    tiny_tokenizer(700).save(str(folder / "tokenizer.json"))
    _refused(folder, "700 tokens", "implies 576", "that the checkpoint was trained with")


def test_tokenizer_missing_damaged_or_foreign(folder: Path) -> None:
    path = folder / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace('"<s>"', '"<bos>"'))
    _refused(folder, "no token '<s>'")
    path.write_text("{}")
    _refused(folder, "tokenizer.json cannot be read")
    path.unlink()
    _refused(folder, "tokenizer.json is missing", "openvla-7b")


@pytest.mark.parametrize(("changes", "word"), [
    ({"arch_specifier": "no-align+gelu-mlp"}, "no-align+fused-gelu-mlp"),
    ({"architectures": ["OpenVLAOFTForRLActionPrediction"]}, "architectures="),
    ({"architectures": []}, "architectures=[]"),
    ({"llm_backbone_id": "vicuna-v15-7b"}, "llm_backbone_id='vicuna-v15-7b'"),
    ({"llm_backbone_id": "llama2-7b-chat"}, "one of llama2-7b-pure"),
    ({"use_proprio": True}, "use_proprio=True"),
    ({"action_head": {"kind": "l1"}}, "action_head={'kind': 'l1'}"),
    ({"num_action_chunks": 8}, "num_action_chunks=8: must be 1"),
    ({"num_images_in_input": 2}, "num_images_in_input=2"),
    ({"use_fused_vision_backbone": False}, "fused"),
    ({"vision_backbone_id": "siglip-vit-so400m"}, "dinosiglip-vit-so-224px"),
    ({"timm_model_ids": ["resnet50", "resnet50"]}, "timm_model_ids"),
    ({"timm_override_act_layers": ["quick_gelu", None]}, "quick_gelu"),
    ({"image_sizes": [224, 230]}, "230"),
    ({"image_sizes": [224, 112]}, "one grid"),
    ({"image_resize_strategy": "squash"}, "squash"),
    ({"n_action_bins": 9000}, "n_action_bins=9000"),
    ({"text_config": {"model_type": "mistral"}}, "'mistral'"),
    ({"text_config": {"tie_word_embeddings": True}}, "tie_word_embeddings"),
    ({"text_config": {"hidden_size": 65, "num_attention_heads": 4}}, "(65)"),
    ({"quantization_config": {"bits": 4}}, "unquantised"),
])
def test_unsupported_architectures(folder: Path, changes: dict, word: str) -> None:
    _refused(_change_config(folder, **changes), word)


def test_config_damaged_or_missing(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    _refused(folder, "config.json cannot be read as JSON")
    (folder / "config.json").unlink()
    _refused(folder, "config.json is missing")


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vla_infoentropy_ros.models.network_weights.free_bytes", lambda device: 1000
    )
    _refused(folder, "0.0 GB are free", "dtype=bfloat16")
    assert (environment.free_bytes(torch.device("cpu")) or 0) > 1_000_000


@pytest.mark.parametrize(("picture", "word"), [
    (np.zeros((8, 8), np.uint8), "(8, 8)"),
    (np.zeros((8, 8, 4), np.uint8), "RGBA"),
    (np.zeros((8, 8, 1), np.uint8), "grey"),
    (np.zeros((0, 8, 3), np.uint8), "empty"),
    (np.zeros((8, 8, 3), np.int64), "int64"),
    (np.zeros((8, 8, 3), np.float32), "float32: must be uint8"),
    (np.full((8, 8, 3), np.nan, np.float32), "192 NaN or infinite pixels"),
    (None, "NoneType"),
])
def test_pictures(policy: OpenVLAPolicy, picture: Any, word: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.preprocess([picture])
    assert word in str(caught.value)


def test_number_of_pictures_pixels_and_tokens(policy: OpenVLAPolicy) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(PolicyError, match="2 pictures given"):
        policy.preprocess([picture, picture])
    with pytest.raises(PolicyError, match=r"\(V, 6, 224, 224\)"):
        policy.embed_vision(torch.zeros(1, 3, 224, 224))
    with pytest.raises(PolicyError, match="6 action tokens"):
        policy.decode_action([500] * 6)


@pytest.mark.parametrize("text", ["", "   ", None, 3])
def test_empty_instruction(policy: OpenVLAPolicy, text: Any) -> None:
    with pytest.raises(PolicyError, match="say what to do"):
        policy.tokenize(text)


def test_an_instruction_that_does_not_fit(folder: Path) -> None:
    """16 visual tokens, BOS and an action leave 16 of 40 positions to the prompt."""
    tight = load_openvla(_change_config(folder, llm_max_length=40), KEY, progress=False)
    with pytest.raises(PolicyError, match="at most 16 fit; say it in fewer words"):
        tight.tokenize("pick up the red block and put it down")


def test_long_and_unknown_instruction(policy: OpenVLAPolicy) -> None:
    with pytest.raises(PolicyError, match="at most 256 are taken"):
        policy.tokenize("z " * 300)
    with pytest.raises(PolicyError, match="characters"):
        policy.tokenize("\u6293\u4f4f")
