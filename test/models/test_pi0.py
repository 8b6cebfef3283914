# SPDX-License-Identifier: Apache-2.0
"""pi0 from a checkpoint folder: equal to transformers' own, and exact where it must be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PI0ForConditionalGeneration

from test.models.test_smolvla import (
    SMALL,
    WORDS,
    flops_are_counted,
    heard_verbatim,
    keyframe_ends_what_is_left,
    pictures,
    same_from_the_hub,
    session_of,
)
from test.models.tiny_pi0 import (
    HORIZON,
    NAMED,
    VOCABULARY,
    tiny_variants,
    write_lerobot_pi0,
    write_transformers_pi0,
)
from test.models.tiny_smolvla import CAMERAS, METRES
from vla_infoentropy_ros.cuttest import run_cuttest
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.lerobot.modules import time_encoding
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.pi0.policy import Pi0Policy
from vla_infoentropy_ros.selftest import run_selftest


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with tiny_variants():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lerobot_pi0(tmp_path_factory.mktemp("pi0") / "tiny")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_transformers_pi0(tmp_path_factory.mktemp("pi0") / "native")


@pytest.fixture(scope="module")
def policy(folder: Path) -> Pi0Policy:
    return load(folder)


def load(folder: Path, options: LoadOptions = METRES) -> Pi0Policy:
    loaded = load_policy(str(folder), options, progress=False)
    assert isinstance(loaded, Pi0Policy)
    return loaded


class ExactMoment(torch.nn.Module):
    """The flow time's code in double precision, as LeRobot has it; transformers loses four
    digits, since its angles go to 1,571 in single precision."""

    def __init__(self, width: int, periods: tuple[float, float]) -> None:
        super().__init__()
        self.width, self.periods = width, periods

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        return time_encoding(float(time[0]), self.width, self.periods).float()[None]


def reference_chunk(
    native: Path, policy: Pi0Policy, images: list[np.ndarray], state: np.ndarray, t: int,
    *, exact: bool = True,
) -> np.ndarray:
    """By transformers alone, its prompt filled up to a fixed length as in training."""
    model = PI0ForConditionalGeneration.from_pretrained(native).eval()
    if exact:
        model.embed_action_time.sinusoid_embeds = ExactMoment(
            policy.config.expert.width, policy.config.flow.periods
        )
    words, visual = policy.tokenize(WORDS).token_ids.tolist(), 16 * len(images)
    ids = [model.config.vlm_config.image_token_id] * visual + words + [0] * 4
    seen = torch.tensor([[1] * (visual + len(words)) + [0] * 4])
    normalised = policy.proprioception.normalise(state)
    room = policy.config.flow.state_size - len(normalised)
    padded = torch.nn.functional.pad(normalised, (0, room))
    chunk = model.sample_actions(
        state=padded[None], input_ids=torch.tensor([ids]), attention_mask=seen,
        pixel_values=policy.preprocess(images).pixels[None], noise=policy.flow.noise(t),
        pixel_attention_mask=torch.ones(1, len(images), dtype=torch.bool),
    )
    return policy.decode_action(chunk.flatten().tolist()).chunk


def test_a_full_plan_is_transformers_own(native: Path) -> None:
    policy = load(native, NAMED)
    session = session_of(policy, "dense")
    for t in range(2):
        images, state = pictures(t), policy.proprioception.offset + 0.2 * t
        result = session.step(images, state=state)
        assert result.action.chunk.shape == (HORIZON, 7) and result.decoder_passes == 1 + 4
        expected = reference_chunk(native, policy, images, state, t)
        np.testing.assert_allclose(result.action.chunk, expected, atol=2e-6)
        as_shipped = reference_chunk(native, policy, images, state, t, exact=False)
        np.testing.assert_allclose(result.action.chunk, as_shipped, atol=1e-4)


def test_both_layouts_hold_one_policy(native: Path, policy: Pi0Policy) -> None:
    other = load(native, NAMED)
    images = [np.full((32, 32, 3), 40 + 60 * view, dtype=np.uint8) for view in range(2)]
    images[0][4:9, 7:20] = 200  # nothing to be resampled, where the two go different ways
    state = policy.proprioception.offset + 0.1
    one, same = (session_of(p, "dense").step(images, state=state) for p in (policy, other))
    np.testing.assert_array_equal(one.action.chunk, same.action.chunk)


@pytest.mark.parametrize("cameras", [CAMERAS[:1], (*CAMERAS, "observation.images.side")])
def test_one_and_three_cameras(
    tmp_path: Path, native: Path, cameras: tuple[str, ...]
) -> None:
    empty = "observation.images.empty_camera_0"  # hidden from every row: as good as not there
    folder = write_lerobot_pi0(tmp_path / "cameras", cameras=(*cameras, empty))
    policy = load(folder)
    assert (policy.views, policy.camera_names) == (len(cameras), cameras)
    images, state = pictures(3, len(cameras)), policy.proprioception.offset
    result = session_of(policy, "dense").step(images, state=state)
    expected = reference_chunk(native, policy, images, state, 0)
    np.testing.assert_allclose(result.action.chunk, expected, atol=2e-6)


def test_words_may_be_stored_twice_and_are_the_same(tmp_path: Path, policy: Pi0Policy) -> None:
    """They are tied in LeRobot and in transformers: where the two differ, one was not trained."""
    folder = write_lerobot_pi0(tmp_path / "both")
    weights = load_file(folder / "model.safetensors")
    tied = "model.paligemma_with_expert.paligemma.lm_head.weight"
    words = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    table = weights[tied]
    for other in (torch.zeros_like(table), table * (torch.arange(len(table)) < 300)[:, None],
                  table[:-1].clone()):
        save_file(weights | {words: table, tied: other}, folder / "model.safetensors")
        with pytest.raises(PolicyError, match=f"{re.escape(tied)} and {re.escape(words)}, which"):
            load(folder)
    save_file(weights | {words: table.clone()}, folder / "model.safetensors")
    images, state = pictures(2), policy.proprioception.offset
    one, other = (session_of(p, "dense").step(images, state=state) for p in (policy, load(folder)))
    np.testing.assert_array_equal(one.action.chunk, other.action.chunk)


@pytest.mark.parametrize("selector", ["attention_drift", "info_entropy", "vla_cache", "random"])
def test_an_unchanged_frame_is_dense_under_any_plan_even_as_the_arm_moves(
    policy: Pi0Policy, selector: str
) -> None:
    """The state is a row of the expert's: nothing of the prefix has seen it."""
    session, dense = session_of(policy, selector), session_of(policy, "dense")
    images, moved = pictures(5), []
    for t in range(4):
        state = policy.proprioception.offset + 0.3 * t
        result, expected = session.step(images, state=state), dense.step(images, state=state)
        np.testing.assert_allclose(result.action.chunk, expected.action.chunk, atol=1e-6)
        moved.append(expected.action.chunk)
    assert result.report.reused > 0 and result.invalidated == ""
    assert np.abs(moved[1] - moved[0]).max() > 1e-4  # the state does count


def test_flops_of_a_step_are_what_torch_counts(policy: Pi0Policy) -> None:
    flops_are_counted(policy)


def test_another_instruction_reuses_nothing_and_a_keyframe_ends_what_partial_steps_left(
    policy: Pi0Policy
) -> None:
    session = keyframe_ends_what_is_left(policy)
    session.set_instruction("put the blue cup on it")
    result = session.step(pictures(2), state=policy.proprioception.offset)
    assert result.invalidated == "instruction_changed" and result.report.fresh == 32


def test_the_layout_says_who_sees_whom(policy: Pi0Policy) -> None:
    layout = policy.head.layout(32, 7)
    mask, state = layout.mask(torch.device("cpu")), layout.prompt
    assert mask[:state, :state].all() and not mask[:state, state:].any()
    assert mask[state, : state + 1].all() and not mask[state, state + 1 :].any()
    assert mask[state + 1 :].all() and layout.total == 32 + 7 + 1 + HORIZON


def test_attention_comes_from_the_expert_too_where_asked(policy: Pi0Policy) -> None:
    """State and actions are rows of two passes: what they attended to stands side by side."""
    session = session_of(policy, settings=replace(SMALL, drift_rows="text_and_action"))
    for t in range(2):
        session.step(pictures(t), state=policy.proprioception.offset)
    attention = session._episode.attention
    assert attention is not None and attention.action.shape == (3, 1 + HORIZON, 32)
    given = attention.action.sum(-1)
    assert (given > 0.0).all() and (given < 1.0).all()  # the rest goes to words and one another


def test_the_prompt_begins_with_one_sign_and_ends_with_a_line(
    native: Path, policy: Pi0Policy
) -> None:
    for each in (policy, load(native, NAMED)):
        prompt = each.tokenize("Pick up the red block.")
        pieces = each.prompt.tokenizer.convert_ids_to_tokens(prompt.token_ids.tolist())
        assert pieces[0] == "<bos>" and pieces.count("<bos>") == 1 and pieces[-1] == "Ċ"
        assert prompt.instruction.tolist() == [False, *[True] * (len(pieces) - 2), False]
        assert max(prompt.token_ids) < VOCABULARY


def test_the_words_are_those_that_were_written(policy: Pi0Policy) -> None:
    heard_verbatim(policy)


def test_pictures_are_fitted_as_each_reference_does(native: Path, policy: Pi0Policy) -> None:
    white = np.full((48, 64, 3), 255, dtype=np.uint8)
    between = policy.preprocess([white] * 2).pixels[0, 0]
    assert (between[:4] == -1).all() and (between[4:28] == 1).all() and (between[28:] == -1).all()
    above = load(native, NAMED).preprocess([white] * 2).pixels[0, 0]
    assert (above[:24] == 1).all() and (above[24:] == 0).all()
    from PIL import Image

    picture = pictures(4)[0]
    mine = load(native, NAMED).preprocess([picture] * 2).image[0, :24].numpy().astype(int)
    theirs = np.asarray(Image.fromarray(picture).resize((32, 24), Image.Resampling.BICUBIC))
    assert np.abs(mine - theirs.astype(int)).max() <= 1


def test_the_self_test_and_the_cut_test_take_it(policy: Pi0Policy) -> None:
    assert run_selftest(policy).passed
    images = [pictures(seed) for seed in range(3)]
    report = run_cuttest(policy, images, WORDS)
    assert report.share("no text") > 0.0 and "fresh_tokens=" in report.advice()


def test_bfloat16_is_near(folder: Path, policy: Pi0Policy) -> None:
    half = load(folder, replace(METRES, dtype="bfloat16"))
    images, state = pictures(1), policy.proprioception.offset
    one, other = (session_of(p, "dense").step(images, state=state) for p in (policy, half))
    np.testing.assert_allclose(one.action.chunk[:, :6], other.action.chunk[:, :6], atol=5e-3)


def test_from_a_pinned_commit_of_the_hub(
    folder: Path, policy: Pi0Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_from_the_hub(folder, policy, monkeypatch)
