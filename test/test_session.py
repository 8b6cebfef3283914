# SPDX-License-Identifier: Apache-2.0
"""Sessions: exactness over steps, and every reason for which nothing may be reused."""

from __future__ import annotations

import gc
import queue
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vla_infoentropy_ros.selection
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine import ridge
from vla_infoentropy_ros.engine.flops import measure_flops, papers_macs
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.selection import (
    SELECTORS,
    SelectionSettings,
    build_selector,
    reasons,
)
from vla_infoentropy_ros.session import Session, SessionOptions, StepError

SMALL = SelectionSettings(k1=2, k2=3, fresh_tokens=3, static_cap=10, reuse_from_layer=0)
SECOND = 1_000_000_000


def session_of(selector: str = "attention_drift", decode: str = "greedy", policy=None) -> Session:
    policy = policy or TinyPolicy()
    session = Session(policy, build_selector(selector, "linear", SMALL), SessionOptions(decode))
    session.set_instruction("pick up")
    return session


def started(**kwargs) -> Session:
    """A session that has reused in its last step."""
    session = session_of(**kwargs)
    for index, frame in enumerate(frames(3)):
        result = session.step([frame], stamp_ns=index * SECOND // 5)
    assert result.invalidated == "" and result.report.reused > 0
    return session


def first_result(frame):
    return session_of().step([frame])


def assert_same_as_first_frame(result, frame):
    fresh = first_result(frame)
    assert result.report.fresh == 16 and result.report.reused == 0
    assert result.action.token_ids == fresh.action.token_ids
    assert (result.report.ages == 0).all()


REUSING = [name for name in SELECTORS if build_selector(name).reuses]


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_reset_is_the_first_frame_of_a_new_session_bit_for_bit(dtype, kv_heads):
    session = started(policy=TinyPolicy(dtype=dtype, kv_heads=kv_heads))
    new = session_of(policy=TinyPolicy(dtype=dtype, kv_heads=kv_heads))
    session.reset("new_episode")
    frame = frames(9)[8]
    result, fresh = session.step([frame]), new.step([frame])
    assert result.invalidated == "new_episode" and result.t == 0
    assert result.action.token_ids == fresh.action.token_ids
    assert torch.equal(session._decoder.cache.keys, new._decoder.cache.keys)
    assert torch.equal(session._decoder.cache.values, new._decoder.cache.values)
    following = frames(10)[9]
    again, expected = session.step([following]), new.step([following])
    assert (again.report.reasons == expected.report.reasons).all()
    assert torch.equal(session._decoder.cache.keys, new._decoder.cache.keys)


def test_instruction_change_reuses_nothing():
    session, frame = started(), frames(4)[3]
    session.set_instruction("put down there")
    result = session.step([frame])
    assert result.invalidated == "instruction_changed" and result.t == 0
    assert result.report.fresh == 16


def test_the_same_instruction_again_changes_nothing():
    session = started()
    session.set_instruction("pick up")
    assert session.step([frames(4)[3]]).invalidated == ""


def test_bad_instruction_leaves_the_old_one_in_force():
    session = started()
    with pytest.raises(PolicyError, match="empty instruction"):
        session.set_instruction("  ")
    assert session.instruction == "pick up"
    assert session.step([frames(4)[3]]).invalidated == ""


def test_image_size_change_reuses_nothing():
    session = started()
    larger = np.zeros((32, 32, 3), dtype=np.uint8)
    assert session.step([larger]).invalidated == "image_changed"


def test_another_camera_of_the_same_size_reuses_nothing():
    session, sequence = session_of(), frames(4)
    for frame in sequence[:3]:
        result = session.step([frame], source="left")
    assert result.invalidated == "" and result.report.reused > 0
    result = session.step([sequence[3]], source="right")
    assert result.invalidated == "image_changed"
    assert_same_as_first_frame(result, sequence[3])
    assert session.step([sequence[3]], source="right").invalidated == ""


class Told:
    """A listener of the node's runner."""

    def __init__(self):
        self.results = queue.Queue()

    def step_begins(self, frame): ...
    def state_changed(self): ...

    def step_done(self, frame, result, instruction):
        self.results.put(result.invalidated)

    def step_failed(self, frame, error):
        self.results.put(repr(error))


def test_the_node_tells_its_cameras_apart():
    from vla_infoentropy_ros.nodes.runner import Frame, PolicyRunner
    from vla_infoentropy_ros.nodes.settings import PolicyNodeSettings

    told, answers = Told(), []
    runner = PolicyRunner(PolicyNodeSettings.from_values({
        "policy_factory": "test.nodes.policies:load", "self_test": "",
        "selector": "attention_drift", "selection.fresh_tokens": 3}), told)
    try:
        runner.start()
        runner.set_instruction("pick up")
        while runner.instruction != "pick up":
            time.sleep(0.01)
        for number, camera in enumerate(("left", "left", "right", "right")):
            picture = frames(4)[number]
            runner.post(Frame(lambda p=picture: [p], number * SECOND // 10, camera, number, 0))
            answers.append(told.results.get(timeout=20))
    finally:
        runner.close()
    assert answers == ["first_frame", "", "image_changed", ""]


CHANGES = {
    "frame_gap": {"stamp_ns": 60 * SECOND},
    "image_changed": {"stamp_ns": SECOND, "source": "right"},
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_pruner_begins_anew_where_a_cache_would(reason):
    """It reuses no keys, but goes by what was attended to in the steps before."""
    session, sequence = session_of("vla_pruner"), frames(12)
    for index, frame in enumerate(sequence[:6]):
        result = session.step([frame], stamp_ns=index * SECOND // 10, source="left")
        assert result.invalidated == ("" if index else "first_frame")
        assert bool(result.report.pruned) == (index >= SMALL.prune_window)
    change, pruned = CHANGES[reason], []
    for index, frame in enumerate(sequence[6:]):
        now = change | {"stamp_ns": change["stamp_ns"] + index * SECOND // 10}
        result = session.step([frame], **({"source": "left"} | now))
        assert result.invalidated == ("" if index else reason)
        pruned.append(bool(result.report.pruned))
    assert pruned == [False] * SMALL.prune_window + [True] * (6 - SMALL.prune_window)


@pytest.mark.parametrize("selector", ["dense", "fastv", "vla_pruner"])
def test_selectors_without_reuse_say_why_they_began_anew(selector):
    session, sequence = session_of(selector), frames(3)
    reasons_given = [session.step([frame]).invalidated for frame in sequence[:2]]
    with pytest.raises(PolicyError):
        session.step([sequence[2]] * 2)
    reasons_given.append(session.step([sequence[2]]).invalidated)
    assert reasons_given == ["first_frame", "", "exception"]


@pytest.mark.parametrize(("stamp_s", "reason"), [
    (0.4 + 0.2, ""), (0.4, ""), (0.4 + 1.01, "frame_gap"), (0.3, "clock_backwards")])
def test_time_between_frames(stamp_s, reason):
    session, frame = started(), frames(4)[3]
    result = session.step([frame], stamp_ns=int(stamp_s * SECOND))
    assert result.invalidated == reason
    if reason:
        assert_same_as_first_frame(result, frame)
    assert session.step([frame], stamp_ns=int(stamp_s * SECOND) + SECOND // 5).invalidated == ""


def test_exception_in_a_step_reuses_nothing_afterwards():
    session, frame = started(), frames(4)[3]
    with pytest.raises(PolicyError):
        session.step([frame, frame])
    result = session.step([frame])
    assert result.invalidated == "exception"
    assert_same_as_first_frame(result, frame)


def test_exception_within_the_decoder_reuses_nothing_afterwards():
    session, frame = started(), frames(4)[3]
    layer = session.policy.decoder.model.layers[2]
    hook = layer.register_forward_pre_hook(_fail)
    with pytest.raises(RuntimeError, match="half way"):
        session.step([frame])
    hook.remove()
    assert_same_as_first_frame(session.step([frame]), frame)


def _fail(*_):
    raise RuntimeError("half way")


def test_deactivate_reuses_nothing():
    session, frame = started(), frames(4)[3]
    session.reset("deactivated")
    result = session.step([frame])
    assert result.invalidated == "deactivated"
    assert_same_as_first_frame(result, frame)


def test_selector_change_reuses_nothing():
    session, frame = started(), frames(4)[3]
    session.set_selector(build_selector("info_entropy", settings=SMALL))
    result = session.step([frame])
    assert result.invalidated == "selector_changed"
    assert_same_as_first_frame(result, frame)


def test_nan_in_the_network_gives_no_action():
    policy = TinyPolicy()
    session = session_of(policy=policy)
    policy.decoder.model.norm.weight[0] = float("nan")
    with pytest.raises(StepError, match="NaN"):
        session.step([frames(1)[0]])


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


@pytest.mark.parametrize("selector", ["vla_pruner", "fastv"])
def test_a_pruned_step_leaves_nothing_to_reuse(selector):
    session, sequence = session_of(selector), frames(8)
    for frame in sequence[:6]:
        result = session.step([frame])
    assert result.report.pruned == 8 and result.report.fresh == 8
    assert (result.report.reasons == reasons.PRUNED).sum() == 8
    assert result.invalidated == "", "the pruner itself reads no keys of earlier steps"
    # The rule holds on its own, without the reset that a change of selector brings.
    session.selector = build_selector("stale")
    result = session.step([sequence[6]])
    assert result.invalidated == "pruned_step"
    assert_same_as_first_frame(result, sequence[6])


def test_pruning_decodes_alike_in_both_modes():
    greedy, window = session_of("vla_pruner"), session_of("vla_pruner", decode="window")
    for frame in frames(12, changed=60):
        assert window.step([frame]).action.token_ids == greedy.step([frame]).action.token_ids


# Tokens with a reason in a view that moves and in one at rest, of 16 each.
ANY = 255
PER_VIEW = {
    "dense": {reasons.REFRESH: (16, 16)},
    "info_entropy": {  # ten of a view may count as unchanged
        reasons.IMAGE_ENTROPY: (2, 2), reasons.ATTENTION: (2, 2), reasons.STALE: (16, 6)},
    "attention_drift": {reasons.STALE: (3, 3)},
    "vla_cache": {reasons.STALE: (16, 6)},
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


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("decode", ["greedy", "window"])
def test_flops_of_a_step_equal_torchs_count(selector, decode):
    """The closed form in the result against torch's counter over the very same step."""
    session = session_of(selector, decode)
    for frame in frames(6, changed=60):
        results = []
        counted = measure_flops(lambda f=frame, r=results: r.append(session.step([f])))
        pruned = results[0].report.pruned and selector == "vla_pruner"
        diversity = 2 * 16 * 16 * 32 if pruned else 0  # selection's own product, not the model's
        assert counted - diversity <= results[0].flops * 1.01
        assert counted >= results[0].flops * 0.99


def test_the_status_message_carries_every_counter():
    from vla_infoentropy_ros.nodes.messages import InferenceStatus, fill_step

    result, status = first_result(frames(1)[0]), InferenceStatus()
    fill_step(status, result)
    assert (status.flops, status.macs) == (result.flops, result.macs)
    assert status.macs > 0 and status.decoder_passes == 7


def tokens_of(session: Session) -> int:
    return 1 + 16 + session._text.shape[0]


@pytest.mark.parametrize("decode", ["greedy", "window"])
def test_macs_are_the_papers_counter_of_the_prefill(decode):
    session, sequence = session_of(decode=decode), frames(3, changed=60)
    text = session._text.shape[0]
    first, *later = [session.step([frame]) for frame in sequence]
    assert first.macs == papers_macs([17 + text] * 4, 32, 64)
    for result in later:  # neither BOS nor drafts
        assert result.macs == papers_macs([SMALL.fresh_tokens + text] * 4, 32, 64)
    pruner, sequence = session_of("vla_pruner", decode), frames(6, changed=60)
    results = [pruner.step([frame]) for frame in sequence]
    assert results[-1].report.pruned == 8  # from layer 1 on
    assert results[-1].macs == papers_macs([17 + text] + [9 + text] * 3, 32, 64)


@pytest.mark.parametrize("selector", REUSING)
@pytest.mark.parametrize("decode", ["greedy", "window"])
def test_a_step_that_ran_twice_costs_both(selector, decode):
    options = SessionOptions(decode, entropy_gate=1e-9)
    settings = replace(SMALL, static_threshold=-1.0, cache_evicted=4)  # vla_cache reuses too
    gated = Session(TinyPolicy(), build_selector(selector, settings=settings), options)
    gated.set_instruction("pick up")
    for frame in frames(4, changed=60):
        results = []
        counted = measure_flops(lambda f=frame, r=results: r.append(gated.step([f])))
        assert results[0].flops == pytest.approx(counted, rel=0.01)
    assert results[0].invalidated == "entropy_gate"
    passes = results[0].decoder_passes
    assert passes == 14 if decode == "greedy" else 2 <= passes <= 14
    dense = first_result(frame)
    text = gated._text.shape[0]
    assert results[0].macs > dense.macs
    if selector == "stale":
        assert results[0].macs == dense.macs + papers_macs([text] * 4, 32, 64)


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


def test_top_up_to_the_measured_ridge():
    settings = SelectionSettings(fresh_tokens=1, top_up_to=-1)
    session = Session(TinyPolicy(), build_selector("attention_drift", settings=settings))
    session.set_instruction("pick up")
    for frame in frames(3, changed=300):
        report = session.step([frame]).report
    assert 1 <= report.fresh == max(session._ridge, 1) <= 16


def test_the_ridge_is_measured_once(monkeypatch):
    measured = []

    def measure(decoder):
        measured.append(decoder)
        return len(measured)

    monkeypatch.setattr(ridge, "measure_ridge", measure)
    policy = TinyPolicy()
    selector = build_selector("attention_drift", settings=SelectionSettings(top_up_to=-1))
    for _ in range(2):  # the node's self-test has a session of its own
        session = Session(policy, selector)
        for instruction in ("pick up", "put down there"):
            session.set_instruction(instruction)
            session.set_selector(selector)
        assert len(measured) == 1 and session._ridge == 1
    session.set_selector(build_selector("attention_drift"))
    assert session._ridge == 0
    larger = Session(TinyPolicy(views=2), selector)
    larger.set_instruction("pick up")
    assert len(measured) == 2 and larger._ridge == 2


LAYERS = {
    "reuse_from_layer": "info_entropy",
    "cache_attention_layer": "vla_cache",
    "cache_layers": "vla_cache",
    "prune_layer": "vla_pruner",
    "fastv_layer": "fastv",
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_no_decoder_has_are_refused(name):
    value = (2, 32) if name == "cache_layers" else 32
    low = 1 if LAYERS[name] in ("vla_pruner", "fastv") else 0
    with pytest.raises(SettingError, match=rf"^{name}=.*32.* is outside \[{low}, 31\]$"):
        SelectionSettings(**{name: value})


@pytest.mark.parametrize("depth", [2, 4, 32])
@pytest.mark.parametrize("name", LAYERS)
def test_the_last_layer_is_the_last_of_any_decoder(name, depth):
    """Not the one behind it, in which nothing would happen and yet be reported."""
    changed = {"static_threshold": -1.0, "static_cap": 16, "cache_static": 16, "cache_evicted": 4,
               "k1": 1, "k2": 2, name: (31,) if name == "cache_layers" else 31}
    selector = build_selector(LAYERS[name], settings=SelectionSettings(**changed))
    session = Session(TinyPolicy(layers=depth), selector)
    session.set_instruction("pick up")
    for frame in frames(6, changed=60):
        result = session.step([frame])
    everything = tokens_of(session)
    if name != "cache_attention_layer":
        left = everything - result.report.reused - result.report.pruned
        assert result.macs == papers_macs([everything] * (depth - 1) + [left], 32, 64)
    if name not in ("cache_attention_layer", "cache_layers"):
        assert result.report.reused + result.report.pruned > 0


def test_two_thousand_steps_in_constant_memory():
    """No tensor outlives its step but those that the session owns from the start."""
    session, sequence = session_of(decode="window"), frames(10, changed=60)

    def living() -> int:
        gc.collect()
        return sum(
            each.numel() * each.element_size() for each in gc.get_objects()
            if issubclass(type(each), torch.Tensor)
        )

    counts = []
    for step in range(2000):
        session.step([sequence[step % 10]])
        if step % 500 == 499:
            counts.append(living())
    assert len(set(counts)) == 1


def test_the_step_never_leaves_the_device():
    """Selection and engine hold no call that would wait for the GPU and copy to the host."""
    root = Path(vla_infoentropy_ros.selection.__file__).parent.parent
    for path in [*(root / "selection").glob("*.py"), *(root / "engine").glob("*.py")]:
        for call in (".cpu()", ".item()", ".tolist()", ".numpy()"):
            assert call not in path.read_text(), f"{call} in {path.name}"
