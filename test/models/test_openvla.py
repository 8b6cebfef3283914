# SPDX-License-Identifier: Apache-2.0
"""OpenVLA from tiny random checkpoints in the published layout."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy, load_openvla
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.modeling import OpenVLAModel, unused_parameters
from vla_infoentropy_ros.models.openvla.tiny import VOCAB
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session, SessionOptions, StepError

KEY = LoadOptions(unnorm_key="bridge_orig")


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def _embedded(policy: OpenVLAPolicy) -> torch.Tensor:
    return policy.embed_vision(policy.preprocess([_picture()]).pixels)


def test_parameter_names_and_shapes_are_those_of_openvla_7b() -> None:
    config = OpenVLAConfig.from_mapping(
        {"model_type": "openvla", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    )
    with torch.device("meta"):
        model = OpenVLAModel(config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    # Spot checks against the published model.safetensors.index.json and tensor headers.
    assert shapes["vision_backbone.featurizer.patch_embed.proj.weight"] == (1024, 3, 14, 14)
    assert shapes["vision_backbone.featurizer.pos_embed"] == (1, 256, 1024)
    assert shapes["vision_backbone.featurizer.reg_token"] == (1, 4, 1024)
    assert shapes["vision_backbone.featurizer.cls_token"] == (1, 1, 1024)
    assert shapes["vision_backbone.featurizer.blocks.22.ls2.scale_factor"] == (1024,)
    assert shapes["vision_backbone.fused_featurizer.blocks.25.mlp.fc1.weight"] == (4304, 1152)
    assert shapes["vision_backbone.fused_featurizer.blocks.0.attn.qkv.bias"] == (3456,)
    assert shapes["projector.fc1.weight"] == (8704, 2176)
    assert shapes["projector.fc3.bias"] == (4096,)
    assert shapes["language_model.lm_head.weight"] == (32064, 4096)
    assert shapes["language_model.model.layers.31.mlp.down_proj.weight"] == (4096, 11008)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert 7.4e9 < total < 7.6e9
    skipped = re.compile(unused_parameters(config))
    assert skipped.match("vision_backbone.featurizer.blocks.23.norm1.weight")
    assert not skipped.match("vision_backbone.featurizer.blocks.22.norm1.weight")
    assert skipped.match("vision_backbone.fused_featurizer.attn_pool.latent")
    assert config.action_vocab_size == 32000 and config.llama.rms_norm_eps == 1e-6
    assert config.grid == (16, 16)


def test_every_stored_tensor_arrives(checkpoint: Path, policy: OpenVLAPolicy) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    for name, value in policy.model.named_parameters():
        assert torch.equal(value, stored[name]), name
        assert not value.requires_grad
    assert not any(value.is_meta for value in policy.model.buffers())


@pytest.mark.parametrize("variant", [
    {"sharded": True},
    {"name_prefix": "base_model.model."},  # a merged LoRA, saved by the wrapper
    {"sharded": True, "name_prefix": "module."},
])
def test_layouts_hold_the_same_weights(
    tmp_path: Path, policy: OpenVLAPolicy, variant: dict
) -> None:
    other = load_openvla(write_tiny_openvla(tmp_path, **variant), KEY, progress=False)
    for (name, left), (_, right) in zip(
        policy.model.named_parameters(), other.model.named_parameters(), strict=True
    ):
        assert torch.equal(left, right), name


@pytest.mark.parametrize(("name", "tolerance"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_half_precision(
    checkpoint: Path, policy: OpenVLAPolicy, name: str, tolerance: float
) -> None:
    half = load_openvla(checkpoint, replace(KEY, dtype=name), progress=False)
    assert half.dtype == {"bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    difference = (_embedded(half).float() - _embedded(policy)).abs().max()
    assert difference < tolerance * _embedded(policy).abs().max()
    assert half.decoder.model.rotary_emb.inv_freq.dtype == torch.float32


def test_statistics_of_a_fine_tune_replace_those_of_the_base(tmp_path: Path) -> None:
    write_tiny_openvla(tmp_path, dataset_statistics=True)
    tuned = load_openvla(tmp_path, LoadOptions(), progress=False)
    assert tuned.norm_key == "my_robot"  # the only one, chosen and named
    assert tuned.stats.q99[0] == pytest.approx(0.03)


def test_revision_of_a_folder_is_its_digest(tmp_path: Path, policy: OpenVLAPolicy) -> None:
    assert policy.revision.startswith("sha256-")
    other = load_openvla(write_tiny_openvla(tmp_path, seed=1), KEY, progress=False)
    assert other.revision != policy.revision
    pinned = load_openvla(tmp_path, replace(KEY, revision=other.revision), progress=False)
    assert pinned.revision == other.revision


def test_adapter_shapes(policy: OpenVLAPolicy) -> None:
    seen = policy.preprocess([_picture()])
    assert seen.image.shape == (1, 224, 224, 3) and seen.image.dtype == torch.uint8
    assert seen.pixels.shape == (1, 6, 224, 224)
    assert policy.embed_vision(seen.pixels).shape == (256, 64)
    assert policy.embed_vision(seen.pixels.repeat(2, 1, 1, 1)).shape == (512, 64)
    assert policy.grid == (16, 16) and policy.views == 1


def test_prompt(policy: OpenVLAPolicy) -> None:
    tokens = policy.tokenize("  Pick up the RED   block ")
    tokenizer = policy.prompt.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(tokens.token_ids.tolist())
    text = "".join(pieces).replace("\u2581", " ")
    assert text == " In: What action should the robot take to pick up the red block?\nOut: "
    assert pieces[-1] == "\u2581" and pieces[0] != "<s>"
    marked = [piece for piece, inside in zip(pieces, tokens.instruction, strict=True) if inside]
    assert "".join(marked).replace("\u2581", " ").strip() == "pick up the red block"
    assert tokens.token_ids.dtype == torch.int64 and tokens.instruction.dtype == torch.bool


def test_action_tokens_count_from_the_unpadded_vocabulary(policy: OpenVLAPolicy) -> None:
    edge = 1 - 1 / 255
    lowest, highest = policy.decode_action([VOCAB - 1] * 7), policy.decode_action([VOCAB - 255] * 7)
    assert np.allclose(lowest.normalised, -edge) and np.allclose(highest.normalised, edge)
    # Training wrote an exact 1 as one more token, which shares the last bin.
    assert np.array_equal(policy.decode_action([VOCAB - 256] * 7).normalised, highest.normalised)
    assert highest.values[0] == pytest.approx(0.02 * edge)
    assert highest.values[6] == pytest.approx(edge)


@pytest.mark.parametrize("word", [2, VOCAB - 257, VOCAB, VOCAB + 5])
@pytest.mark.parametrize("decode", ["greedy", "window"])
@pytest.mark.parametrize("place", [0, 6])
def test_a_word_for_an_action_gives_no_action(
    checkpoint: Path, decode: str, place: int, word: int
) -> None:
    """The reference clips it to an end of its axis, which on a robot would be a guess."""
    policy = load_openvla(checkpoint, KEY, progress=False)
    session = Session(policy, build_selector("dense"), SessionOptions(decode=decode))
    session.set_instruction("pick up the red block")
    for _ in range(2):
        expected = session.step([_picture(0)]).action.token_ids
    head = policy.decoder.lm_head.weight
    said = head[expected[place]].clone()
    head[word] = 2.0 * said  # wins wherever the token at `place` did
    named = f"action token {expected.index(expected[place])} is {word}, a word"
    with pytest.raises(StepError, match=named):
        session.step([_picture(0)])
    head[word] = 0.0
    again = session.step([_picture(0)])
    assert again.invalidated == "exception" and again.action.token_ids == expected


def test_a_session_runs_it(tmp_path: Path) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, llama={"num_key_value_heads": 2})
    policy = load_openvla(folder, KEY, progress=False)
    assert policy.grid == (4, 4)
    session = Session(policy, build_selector("attention_drift"))
    session.set_instruction("pick up the red block")
    for seed in range(3):
        result = session.step([_picture(seed)])
        assert np.isfinite(result.action.values).all()
        reference = _greedy_by_transformers(policy, _picture(seed))
        assert reference == result.action.token_ids  # every token fresh: 16 of at most 32


def _greedy_by_transformers(policy: OpenVLAPolicy, picture: np.ndarray) -> tuple[int, ...]:
    """The sequence of the reference implementation, through LlamaForCausalLM alone."""
    embed = policy.decoder.model.embed_tokens
    text = policy.tokenize("pick up the red block").token_ids
    visual = policy.embed_vision(policy.preprocess([picture]).pixels)
    bos = embed(torch.tensor([policy.bos_token_id]))
    tokens: list[int] = []
    for _ in range(7):
        rows = torch.cat([bos, visual, embed(text), embed(torch.tensor(tokens, dtype=torch.long))])
        with torch.inference_mode():
            tokens.append(int(policy.decoder(inputs_embeds=rows[None]).logits[0, -1].argmax()))
    return tuple(tokens)
