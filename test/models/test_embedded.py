# SPDX-License-Identifier: Apache-2.0
"""The embedded policy: its adapter, its files, and its dense reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.embedded import Architecture, EmbeddedPolicy, PolicyConfig
from vla_infoentropy_ros.models.embedded.network import grid_encoding
from vla_infoentropy_ros.models.embedded.tokenizer import SPECIALS, WordTokenizer
from vla_infoentropy_ros.models.embedded.weights_file import write_weights

WORDS = ("put", "the", "red", "cube", "on", "white", "plate")
TEXT = "put the red cube on the white plate"


def tiny_config(revision: str = "tiny-1") -> PolicyConfig:
    """A configuration whose network has a few thousand weights."""
    return PolicyConfig(
        revision=revision,
        architecture=Architecture(
            image_size=56, stem_width=4, vision_width=16, vision_heads=2, vision_ff=16,
            projector_width=16, width=24, layers=2, heads=2, ff=32,
        ),
        words=WORDS,
        norm_stats={
            "toy": {
                "action": {
                    "q01": [-0.1] * 6 + [0.0],
                    "q99": [0.1] * 6 + [1.0],
                    "mask": [True] * 7,
                }
            }
        },
        norm_key="toy",
        camera={},
    )


@pytest.fixture
def policy() -> EmbeddedPolicy:
    torch.manual_seed(0)
    return EmbeddedPolicy(tiny_config())


@pytest.fixture
def folder(tmp_path: Path, policy: EmbeddedPolicy) -> Path:
    write_weights(tmp_path / "policy.safetensors", policy.network, policy.revision)
    (tmp_path / "policy.json").write_text(policy.config.dump(), encoding="utf-8")
    return tmp_path


def picture(seed: int = 0, size: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_words_end_with_the_prompt_end() -> None:
    tokenizer = WordTokenizer(WORDS)
    prompt = tokenizer.encode("Put  the red CUBE on the white plate.")
    assert prompt.token_ids.tolist()[-1] == tokenizer.act_token_id
    assert len(prompt.token_ids) == 9
    assert prompt.instruction.tolist() == [True] * 8 + [False]
    assert tokenizer.vocab_size == len(SPECIALS) + len(WORDS) + 256
    assert prompt.token_ids.max() < tokenizer.vocab_size - 256


@pytest.mark.parametrize("text", ["", "   ", "."])
def test_empty_instruction_is_refused(policy: EmbeddedPolicy, text: str) -> None:
    with pytest.raises(PolicyError, match="say what to do"):
        policy.tokenize(text)


def test_unknown_words_are_named_with_the_known_ones(policy: EmbeddedPolicy) -> None:
    with pytest.raises(PolicyError, match=r"\['pick', 'up'\].*put, the, red"):
        policy.tokenize("pick up the red cube")


def test_repeated_words_in_the_vocabulary_are_refused() -> None:
    with pytest.raises(PolicyError, match="without repetition"):
        WordTokenizer(("put", "put"))


def test_adapter_shapes(policy: EmbeddedPolicy) -> None:
    seen = policy.preprocess([picture()])
    assert seen.image.shape == (1, 56, 56, 3) and seen.image.dtype == torch.uint8
    assert seen.pixels.shape == (1, 3, 56, 56)
    assert seen.pixels.min() >= -1 and seen.pixels.max() <= 1
    assert policy.grid == (4, 4)
    assert policy.embed_vision(seen.pixels).shape == (16, 24)
    assert policy.convention.gripper == "one_is_open" and policy.convention.frame == "base"


def test_other_sizes_are_resized(policy: EmbeddedPolicy) -> None:
    assert policy.preprocess([picture(size=80)]).image.shape == (1, 56, 56, 3)
    image = picture()
    np.testing.assert_array_equal(policy.preprocess([image]).image[0].numpy(), image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((56, 56), np.uint8), np.zeros((56, 56, 4), np.uint8), np.zeros((56, 56, 3)),
        np.zeros((0, 56, 3), np.uint8), None,
    ],
)
def test_unusable_pictures_are_refused(policy: EmbeddedPolicy, image: np.ndarray) -> None:
    with pytest.raises(PolicyError, match=r"uint8|numpy"):
        policy.preprocess([image])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pictures_with_nan_are_refused(policy: EmbeddedPolicy, dtype: type, bad: float) -> None:
    image = np.zeros((56, 56, 3), dtype)
    image[3, 4] = bad
    with pytest.raises(PolicyError, match="3 NaN or infinite pixels: must be uint8"):
        policy.preprocess([image])


def test_one_view_only(policy: EmbeddedPolicy) -> None:
    with pytest.raises(PolicyError, match="2 pictures"):
        policy.preprocess([picture(), picture()])


def test_action_units(policy: EmbeddedPolicy) -> None:
    vocabulary = policy.tokenizer.vocab_size
    action = policy.decode_action([vocabulary - 1] * 6 + [vocabulary - 255])
    np.testing.assert_allclose(action.values, [-0.1] * 6 + [1.0], atol=3e-3)
    np.testing.assert_allclose(action.normalised, [-1] * 6 + [1], atol=0.005)
    with pytest.raises(PolicyError, match="3 action tokens"):
        policy.decode_action([1, 2, 3])


def test_dense_reference_is_the_plain_forward(policy: EmbeddedPolicy) -> None:
    """Greedy decoding with the library's cache equals seven passes without any cache."""
    image = picture()
    action = policy.act(image, TEXT)
    seen = policy.preprocess([image])
    embed = policy.decoder.get_input_embeddings()
    with torch.no_grad():
        sequence = torch.cat([
            embed(torch.tensor([policy.bos_token_id])),
            policy.embed_vision(seen.pixels),
            embed(policy.tokenize(TEXT).token_ids),
        ])[None]
        tokens = []
        for _ in range(7):
            logits = policy.decoder(inputs_embeds=sequence, use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
            sequence = torch.cat([sequence, embed(torch.tensor([[tokens[-1]]]))], dim=1)
    assert tuple(tokens) == action.token_ids


def test_batch_equals_one_by_one(policy: EmbeddedPolicy) -> None:
    images = np.stack([picture(seed) for seed in range(3)])
    tokens = policy.act_batch(torch.from_numpy(images), [TEXT] * 3)
    for image, row in zip(images, tokens, strict=True):
        assert policy.act(image, TEXT).token_ids == tuple(row.tolist())


def test_the_picture_matters(policy: EmbeddedPolicy) -> None:
    black = policy.preprocess([np.zeros((56, 56, 3), np.uint8)]).pixels
    white = policy.preprocess([np.full((56, 56, 3), 255, np.uint8)]).pixels
    assert (policy.embed_vision(black) - policy.embed_vision(white)).abs().max() > 1e-3


def test_files_round_trip_in_half_precision(folder: Path, policy: EmbeddedPolicy) -> None:
    loaded = EmbeddedPolicy.load(folder)
    assert loaded.config == policy.config
    for name, tensor in loaded.network.state_dict().items():
        assert tensor.dtype == torch.float32
        expected = policy.network.state_dict()[name].half().float()
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0)
    assert not loaded.network.training


def test_missing_folder_and_files(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(PolicyError, match="does not exist; give the folder"):
        EmbeddedPolicy.load(tmp_path / "nowhere")
    (folder / "policy.safetensors").unlink()
    with pytest.raises(PolicyError, match=r"policy.safetensors is missing"):
        EmbeddedPolicy.load(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PolicyError, match="not a readable safetensors file"):
        EmbeddedPolicy.load(folder)


def test_weights_of_another_revision(folder: Path, policy: EmbeddedPolicy) -> None:
    write_weights(folder / "policy.safetensors", policy.network, "other")
    with pytest.raises(PolicyError, match=r"'other'.*'tiny-1'.*belong together"):
        EmbeddedPolicy.load(folder)


def _rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    path = folder / "policy.safetensors"
    tensors = load_file(path)
    for name, tensor in change.items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, path, metadata={"revision": "tiny-1"})


def test_missing_tensor_wrong_shape_and_nan(folder: Path) -> None:
    name = "vision.norm.weight"
    _rewrite(folder, {name: torch.ones(17)})
    with pytest.raises(PolicyError, match=r"vision.norm.weight has shape \(17,\)"):
        EmbeddedPolicy.load(folder)
    _rewrite(folder, {name: torch.full((16,), float("nan"))})
    with pytest.raises(PolicyError, match="NaN"):
        EmbeddedPolicy.load(folder)
    _rewrite(folder, {name: None})
    with pytest.raises(PolicyError, match=r"missing \['vision.norm.weight'\]"):
        EmbeddedPolicy.load(folder)


def test_unusable_configuration_files(folder: Path) -> None:
    path = folder / "policy.json"
    values = json.loads(path.read_text())
    for change, message in (
        ({"format": 99}, "format"),
        ({"colour": 1}, "unknown keys"),
        ({"norm_key": "bridge"}, r"must be one of \['toy'\]"),
        ({"architecture": {"heads": 5}}, "must divide"),
        ({"architecture": {"depth": 5}}, "unknown architecture keys"),
        ({"architecture": {"heads": True}}, r"architecture\.heads = True"),
        ({"architecture": {"layers": 10**9}}, r"architecture\.layers = 1000000000"),
        ({"architecture": {"layers": 101}}, r"an integer from 1 to 100"),
        ({"architecture": {"width": 4092, "ff": 4096, "layers": 100}}, r"at most 50,000,000 are"),
        ({"words": [str(number) for number in range(1_300_000)]}, r"at most 50,000,000 are"),
        ({"architecture": [1]}, r"architecture=\[1\]: must be an object"),
        ({"words": "put"}, "words='put'"),
        ({"words": [1]}, r"words=\[1\]"),
        ({"revision": 3}, "revision=3"),
        ({"norm_key": ["toy"]}, r"norm_key=\['toy'\]"),
        ({"norm_stats": [1]}, r"norm_stats=\[1\]"),
        ({"norm_stats": {"toy": 1}}, "norm_stats.toy=1"),
        ({"norm_stats": {"toy": {}}}, "norm_stats.toy.action is missing"),
        ({"norm_stats": {"toy": {"action": {"q01": [0.0]}}}}, "1 action values, must be 7"),
        ({"camera": 1}, "camera=1"),
        ({"control_period_s": "0.2"}, "control_period_s='0.2'"),
        ({"action_bins": 1}, "action_bins=1"),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(PolicyError, match=message):
            EmbeddedPolicy.load(folder)
    path.write_text("{")
    with pytest.raises(PolicyError, match="cannot be read as JSON"):
        EmbeddedPolicy.load(folder)
    path.write_text("[]")
    with pytest.raises(PolicyError, match="must be an object"):
        EmbeddedPolicy.load(folder)


def test_grid_encoding_tells_places_apart() -> None:
    code = grid_encoding(16, 128)
    assert code.shape == (256, 128)
    distance = torch.cdist(code, code) + 10 * torch.eye(256)
    assert distance.min() > 0.1
