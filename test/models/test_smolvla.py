# SPDX-License-Identifier: Apache-2.0
"""SmolVLA from a checkpoint folder: equal to its equations, and exact where it must be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from test.models.hub import COMMIT, fake_hub
from test.models.smolvla_reference import Reference
from test.models.tiny_smolvla import CAMERAS, METRES, write_tiny_smolvla
from vla_infoentropy_ros.engine.flops import measure_flops
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.lerobot.policy import ChunkPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.smolvla.policy import SmolVLAPolicy
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.session import Session, StepResult

WORDS = "pick up the red block"
SMALL = SelectionSettings(k1=2, k2=3, fresh_tokens=6, static_cap=10, reuse_from_layer=0,
                          cache_evicted=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_smolvla(tmp_path_factory.mktemp("smolvla") / "tiny")


@pytest.fixture(scope="module")
def policy(folder: Path) -> SmolVLAPolicy:
    loaded = load_policy(str(folder), METRES, progress=False)
    assert isinstance(loaded, SmolVLAPolicy)
    return loaded


def pictures(seed: int, count: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]


def session_of(
    policy: ChunkPolicy, selector: str = "attention_drift", settings: SelectionSettings = SMALL
) -> Session:
    session = Session(policy, build_selector(selector, "linear", settings))
    session.set_instruction(WORDS)
    return session


def test_the_words_are_those_that_were_written(policy: SmolVLAPolicy) -> None:
    """As LeRobot has them: capitals, doubled blanks and the full stop are of the training set."""
    heard_verbatim(policy)


def heard_verbatim(policy: ChunkPolicy) -> None:
    texts = ["Pick up the red block.", "pick up the red block", "PICK up  the block", "Cafe\u0301"]
    told = [policy.tokenize(f"  {text}\n").token_ids.tolist() for text in texts]
    assert told == [policy.prompt.tokenizer(f"{text}\n")["input_ids"] for text in texts]
    assert len({tuple(ids) for ids in told}) == len(texts)
    for unseen, code in (("pick\tup", "U+0009"), ("pick\nup", "U+000A"), ("up\u200b", "U+200B")):
        with pytest.raises(PolicyError, match=re.escape(code)):
            policy.tokenize(unseen)
    for nothing in (" . ", "", 3):
        with pytest.raises(PolicyError, match="say what to do"):
            policy.tokenize(nothing)  # type: ignore[arg-type]


def reference_chunk(
    folder: Path, policy: SmolVLAPolicy, images: list[np.ndarray], state: np.ndarray, t: int
) -> np.ndarray:
    reference = Reference(policy.config, load_file(folder / "model.safetensors"))
    chunk = reference.chunk(
        policy.preprocess(images).pixels, policy.tokenize(WORDS).token_ids.tolist(),
        policy.proprioception.normalise(state), policy.flow.noise(t)[0],
    )
    return policy.decode_action(chunk.flatten().tolist()).chunk


def test_a_full_plan_is_the_model_by_its_equations(folder: Path, policy: SmolVLAPolicy) -> None:
    session = session_of(policy, "dense")
    for t in range(2):
        images, state = pictures(t), policy.proprioception.offset + 0.2 * t
        result = session.step(images, state=state)
        assert result.action.chunk.shape == (5, 7) and result.decoder_passes == 1 + 4
        expected = reference_chunk(folder, policy, images, state, t)
        np.testing.assert_allclose(result.action.chunk, expected, atol=2e-6)


@pytest.mark.parametrize("settings", [
    {"self_attn_every_n_layers": 0}, {"attention_mode": "self_attn"}, {"num_vlm_layers": 3},
])
def test_other_arrangements_of_the_expert_run(tmp_path: Path, settings: dict) -> None:
    folder = write_tiny_smolvla(tmp_path / "other", **settings)
    policy = load_policy(str(folder), METRES, progress=False)
    assert run_selftest(policy).passed
    assert len(policy.backbone.layers) == settings.get("num_vlm_layers", 4)


@pytest.mark.parametrize(("mean", "std", "ends", "trained", "passes"), [
    (0.5, 0.5, True, "one_is_open", True), (0.97, 0.17, False, "one_is_closed", True),
    (0.0, 1.0, True, "one_is_open", False), (0.0, 1.0, False, "one_is_open", False),
    (-0.6, 0.8, False, "one_is_closed", False), (0.0, 1.0, False, "minus_one_is_open", True),
    (0.04, 0.03, True, "minus_one_is_open", False), (0.04, 0.03, False, "one_is_open", False),
])
def test_a_gripper_that_was_recorded_otherwise_than_said_fails_the_self_test(
    tmp_path: Path, mean: float, std: float, ends: bool, trained: str, passes: bool
) -> None:
    """-1 and 1 taken for 0 and 1 opens where it should close, in a range that looks right."""
    folder = write_tiny_smolvla(tmp_path)
    for path in folder.glob("*normalizer*.safetensors"):
        table = load_file(path)
        table["action.mean"][6], table["action.std"][6] = mean, std
        table["action.min"][6], table["action.max"][6] = mean - std, mean + std
        save_file({name: value for name, value in table.items()
                   if ends or not name.endswith((".min", ".max"))}, path)
    options = replace(METRES, trained_gripper=trained)
    report = run_selftest(load_policy(str(folder), options, progress=False))
    assert report.passed == passes, report.reason
    assert passes or "gripper" in report.reason


@pytest.mark.parametrize("cameras", [CAMERAS[:1], (*CAMERAS, "observation.images.side")])
def test_one_and_three_cameras(tmp_path: Path, cameras: tuple[str, ...]) -> None:
    folder = write_tiny_smolvla(tmp_path / "cameras", cameras=cameras)
    policy = load_policy(str(folder), METRES, progress=False)
    assert (policy.views, policy.camera_names) == (len(cameras), cameras)
    images, state = pictures(3, len(cameras)), policy.proprioception.offset
    result = session_of(policy, "dense").step(images, state=state)
    expected = reference_chunk(folder, policy, images, state, 0)
    np.testing.assert_allclose(result.action.chunk, expected, atol=2e-6)


@pytest.mark.parametrize("selector", ["attention_drift", "info_entropy", "vla_cache", "random"])
def test_an_unchanged_frame_is_dense_under_any_plan_even_as_the_arm_moves(
    policy: SmolVLAPolicy, selector: str
) -> None:
    """The state stands behind the prefix, in a block of its own: no picture's row has seen it."""
    session, dense = session_of(policy, selector), session_of(policy, "dense")
    images = pictures(5)
    for t in range(4):
        state = policy.proprioception.offset + 0.3 * t
        result, expected = session.step(images, state=state), dense.step(images, state=state)
        np.testing.assert_allclose(result.action.chunk, expected.action.chunk, atol=1e-6)
    assert result.report.reused > 0 and result.invalidated == ""


def test_another_instruction_reuses_nothing(policy: SmolVLAPolicy) -> None:
    session, state = session_of(policy), policy.proprioception.offset
    session.step(pictures(6), state=state)
    session.set_instruction("put the blue cup on it")
    result = session.step(pictures(6), state=state)
    assert result.invalidated == "instruction_changed" and result.report.fresh == 32


def test_flops_of_a_step_are_what_torch_counts(policy: SmolVLAPolicy) -> None:
    flops_are_counted(policy)


def flops_are_counted(policy: ChunkPolicy) -> None:
    session, state = session_of(policy), policy.proprioception.offset
    session.step(pictures(0), state=state)  # the first measures what it will tell
    for t in range(1, 3):
        results: list[StepResult] = []
        counted = measure_flops(
            lambda t=t, r=results: r.append(session.step(pictures(t), state=state)))
        assert results[0].flops == pytest.approx(counted, rel=1e-3)


def test_a_keyframe_ends_what_partial_steps_left(policy: SmolVLAPolicy) -> None:
    keyframe_ends_what_is_left(policy)


def keyframe_ends_what_is_left(policy: ChunkPolicy) -> Session:
    session = session_of(policy, settings=replace(SMALL, keyframe_every=4))
    dense, state = session_of(policy, "dense"), policy.proprioception.offset
    off, fresh = [], []
    for t in range(5):
        images = pictures(min(t, 2))
        result, expected = session.step(images, state=state), dense.step(images, state=state)
        off.append(float(np.abs(result.action.chunk - expected.action.chunk).max()))
        fresh.append(result.report.fresh)
    assert fresh[0] == fresh[4] == 32 and max(fresh[1:4]) < 32
    assert min(off[1:4]) > 1e-5 and off[4] < 1e-6
    return session


def test_budgets_hold_for_each_view(policy: SmolVLAPolicy) -> None:
    session, state = session_of(policy), policy.proprioception.offset
    session.step(pictures(0), state=state)
    still, moving = pictures(0)[0], pictures(9)[1]
    report = session.step([still, moving], state=state).report
    per_view = (report.ages == 0).reshape(2, 16).sum(axis=1)
    assert report.fresh == 12 and per_view.tolist() == [6, 6]


def test_attention_comes_from_the_text_rows(policy: SmolVLAPolicy) -> None:
    session = session_of(policy)
    session.step(pictures(0), state=policy.proprioception.offset)
    attention = session._episode.attention
    assert attention is not None and attention.text.shape[1:] == (6, 32)
    assert max(attention.layers) == 2  # the last layer's queries feed nothing


def test_bfloat16_is_near(folder: Path, policy: SmolVLAPolicy) -> None:
    half = load_policy(str(folder), replace(METRES, dtype="bfloat16"), progress=False)
    images, state = pictures(1), policy.proprioception.offset
    one, other = (session_of(p, "dense").step(images, state=state) for p in (policy, half))
    np.testing.assert_allclose(one.action.chunk[:, :6], other.action.chunk[:, :6], atol=5e-3)


def test_the_self_test_passes_with_units_of_libero(folder: Path) -> None:
    libero = LoadOptions(action_units="osc_pose", control_period_s=0.05, crop="none")
    policy = load_policy(str(folder), libero, progress=False)
    assert policy.convention.control_period_s == 0.05 and policy.assumed == ""
    action = policy.units.encode(np.ones(7), 5)
    values = policy.decode_action(action).values
    np.testing.assert_allclose(values[:3], 0.04 * 0.05, atol=1e-6)
    assert values[6] == pytest.approx(0.0, abs=1e-6)  # 1 closes in robosuite


def test_from_a_pinned_commit_of_the_hub(
    folder: Path, policy: SmolVLAPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_from_the_hub(folder, policy, monkeypatch)


def same_from_the_hub(
    folder: Path, policy: ChunkPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = fake_hub(monkeypatch, folder)
    loaded = load_policy("owner/name", replace(METRES, revision=COMMIT), progress=False)
    assert loaded.revision == COMMIT
    order = [name for name in hub.fetched if name.endswith(".safetensors")]
    assert order[-1] == "model.safetensors" and len(order) == 3  # statistics are checked first
    images, state = pictures(2), policy.proprioception.offset
    one, other = (session_of(p, "dense").step(images, state=state) for p in (policy, loaded))
    np.testing.assert_array_equal(one.action.chunk, other.action.chunk)
