# SPDX-License-Identifier: Apache-2.0
"""Sessions: exactness over steps, and what a step reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from test.session.helpers import (
    REUSING,
    SMALL,
    first_result,
    session_of,
    started,
)
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.selection import (
    SELECTORS,
    Selection,
    SelectionSettings,
    build_selector,
    reasons,
)
from vla_infoentropy_ros.session import Session, SessionOptions


@pytest.mark.parametrize("selector", REUSING)
@pytest.mark.parametrize("decode", ["greedy", "window"])
def test_unchanged_frames_give_the_dense_action_with_any_reuse(selector, decode):
    frame = frames(1)[0]
    expected = session_of("dense").step([frame]).action.token_ids
    session = session_of(selector, decode)
    for _ in range(6):
        assert session.step([frame]).action.token_ids == expected


NO_REUSE = {
    "dense": {},
    "info_entropy": {"static_cap": 0},
    "attention_drift": {"fresh_tokens": 16},
    "vla_cache": {"cache_static": 0},
    "vla_pruner": {"prune_ratio": 0.0},
    "fastv": {"prune_ratio": 0.0},
    "random": {"fresh_tokens": 16},
    "stale": {"keyframe_every": 1},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("name", SELECTORS)
def test_any_selector_without_reuse_is_dense_bit_for_bit(name, kv_heads, dtype):
    nothing_reused = build_selector(name, settings=SelectionSettings(**NO_REUSE[name]))
    ours, dense = (
        Session(TinyPolicy(dtype=dtype, kv_heads=kv_heads), selector)
        for selector in (nothing_reused, build_selector("dense"))
    )
    for session in (ours, dense):
        session.set_instruction("pick up")
    for frame in frames(6, changed=300):
        result, expected = ours.step([frame]), dense.step([frame])
        assert result.report.fresh == 16
        assert result.action.token_ids == expected.action.token_ids
        assert torch.equal(ours._decoder.cache.keys, dense._decoder.cache.keys)


def test_window_decoding_gives_the_greedy_actions_over_an_episode():
    greedy, window = session_of(), session_of(decode="window")
    passes = []
    for frame in frames(40, changed=60):
        fast = window.step([frame])
        assert fast.action.token_ids == greedy.step([frame]).action.token_ids
        passes.append(fast.decoder_passes)
    assert passes[0] == 7 and min(passes[1:]) < 7


def test_in_bf16_the_plan_does_not_depend_on_how_tokens_are_decoded():
    """Tokens may differ where two are within rounding; what is recomputed must not follow them."""
    sessions = [session_of(decode=decode, policy=TinyPolicy(dtype=torch.bfloat16))
                for decode in ("greedy", "window")]
    same = 0
    for frame in frames(40, changed=60):
        greedy, window = (session.step([frame]) for session in sessions)
        assert (greedy.report.reasons == window.report.reasons).all()
        same += greedy.action.token_ids == window.action.token_ids
    assert same >= 30


def test_reuse_is_reported_token_by_token():
    session = started()
    result = session.step([frames(4)[3]])
    report = result.report
    assert report.fresh == 3 and report.reused == 13
    assert (report.reasons != 0).sum() == 3
    assert (report.ages[report.reasons != 0] == 0).all()
    assert (report.ages[report.reasons == 0] > 0).all()
    assert set(result.stages_ms) == {"preprocess", "vision", "select", "prefill", "decode"}
    assert result.latency_ms == pytest.approx(sum(result.stages_ms.values()))
    assert result.t == 3 and session.steps == 4


def test_a_step_without_instruction_is_refused():
    session = Session(TinyPolicy(), build_selector("dense"))
    with pytest.raises(PolicyError, match="set_instruction"):
        session.step([frames(1)[0]])


def test_slow_drift_is_seen_against_the_frame_of_computation():
    """A neighbour-only comparison never sees a change of a part in 1e3 a step; the reference
    does, because it moves only with the token."""
    settings = SelectionSettings(k1=0, k2=0, static_cap=16, reuse_from_layer=0)
    session = Session(TinyPolicy(), build_selector("info_entropy", settings=settings))
    session.set_instruction("pick up")
    base = np.full((16, 16, 3), 100, dtype=np.uint8)
    recomputed = 0
    for step in range(60):
        frame = base.copy()
        frame[:4, :4, 0] = 100 + 2 * step  # token 0 turns red, slowly
        report = session.step([frame]).report
        recomputed += int(step > 0 and report.reasons[0] != 0)
    assert recomputed >= 2


@pytest.mark.parametrize("options", [{"decode": "beam"}, {"frame_gap_limit_s": -1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SessionOptions(**options)


def test_pruning_decodes_alike_in_both_modes():
    greedy, window = session_of("vla_pruner"), session_of("vla_pruner", decode="window")
    for frame in frames(12, changed=60):
        assert window.step([frame]).action.token_ids == greedy.step([frame]).action.token_ids


# Tokens with a reason in a view that moves and in one at rest, of 16 each.
ANY = 255
PER_VIEW = {
    "dense": {reasons.REFRESH: (16, 16)},
    "info_entropy": {  # ten of a view may be reused
        reasons.IMAGE_ENTROPY: (2, 2), reasons.ATTENTION: (2, 2), reasons.STALE: (16, 0),
        reasons.AGE: (0, 6)},
    "attention_drift": {reasons.STALE: (3, 3)},
    "vla_cache": {reasons.STALE: (16, 0), reasons.AGE: (0, 6)},
    "vla_pruner": {reasons.PRUNED: (8, 8)},
    "fastv": {reasons.PRUNED: (8, 8)},
    "random": {reasons.CONTROL: (3, 3)},
    "stale": {ANY: (0, 0)},
}


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("selector", SELECTORS)
def test_several_views_have_budgets_of_their_own(selector, views):
    """One camera sees something new all over in each frame, the others a flat picture."""
    settings = replace(SMALL, cache_static=10, cache_evicted=4)
    session = Session(TinyPolicy(views=views), build_selector(selector, settings=settings))
    session.set_instruction("pick up")
    at_rest = np.full((16, 16, 3), 90, dtype=np.uint8)
    for number, moving in enumerate(frames(6, changed=2000)):
        report = session.step([moving] + [at_rest] * (views - 1)).report
        assert report.reasons.shape == (views * 16,)
        assert report.fresh + report.reused + report.pruned == views * 16
        if number < settings.prune_window:
            continue  # vla_pruner prunes nothing yet
        for bit, (moved, rested) in PER_VIEW[selector].items():
            claimed = ((report.reasons.reshape(views, 16) & bit) != 0).sum(1).tolist()
            assert claimed == [moved] + [rested] * (views - 1)


class Counts:
    """Reuses everything, and counts in what it is given back."""

    name, reuses, prunes = "counts", True, False

    def __init__(self):
        self.given = []

    def needs(self, depth):
        return AttentionNeeds()

    def select(self, given):
        self.given.append(given.state)
        nothing = torch.zeros(0, dtype=torch.int64)
        return Selection(TokenPlan.reuse(nothing, 16), torch.zeros(16, dtype=torch.uint8),
                         state=(given.state or 0) + 1)


def test_entropy_gate_leaves_the_selector_what_it_remembers():
    selector = Counts()
    session = Session(TinyPolicy(), selector, SessionOptions(entropy_gate=1e-9))
    session.set_instruction("pick up")
    gated = [session.step([frame]).invalidated for frame in frames(5, changed=300)]
    assert gated == ["first_frame", *["entropy_gate"] * 4]
    assert selector.given == [None, 1, 2, 3]


def test_entropy_gate_runs_a_pruned_step_again_in_full():
    session = Session(TinyPolicy(), build_selector("fastv"), SessionOptions(entropy_gate=1e-9))
    session.set_instruction("pick up")
    for frame in frames(3, changed=300):
        result = session.step([frame])
        assert result.invalidated == "entropy_gate"
        assert (result.report.fresh, result.report.pruned) == (16, 0)
        assert result.action.token_ids == first_result(frame).action.token_ids


def test_no_words_are_refused_from_the_beginning():
    session = Session(TinyPolicy(), build_selector("dense"))
    with pytest.raises(PolicyError):
        session.set_instruction("")


def test_entropy_gate_runs_an_unsure_step_again_in_full():
    policy = TinyPolicy()
    always = Session(policy, build_selector("stale"), SessionOptions(entropy_gate=1e-9))
    never = Session(policy, build_selector("stale"), SessionOptions(entropy_gate=100.0))
    for session in (always, never):
        session.set_instruction("pick up")
    for number, frame in enumerate(frames(4, changed=300)):
        gated, stale = always.step([frame]), never.step([frame])
        assert gated.action.token_ids == first_result(frame).action.token_ids
        if number:
            assert (gated.invalidated, stale.invalidated) == ("entropy_gate", "")
            assert (gated.report.fresh, stale.report.fresh) == (16, 0)
