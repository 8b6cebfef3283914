# SPDX-License-Identifier: Apache-2.0
"""Sessions: every reason for which nothing may be reused, and what a failed step leaves."""

from __future__ import annotations

import queue
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from test.session.helpers import (
    SECOND,
    SMALL,
    assert_same_as_first_frame,
    session_of,
    started,
)
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.selection import SELECTORS, build_selector, reasons
from vla_infoentropy_ros.session import StepError


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


def test_an_instruction_that_breaks_the_policy_leaves_the_old_one_in_force():
    session = started()
    for _ in range(2):  # the second time too: it was never taken
        with pytest.raises(IndexError):
            session.set_instruction("über")  # a letter for which this policy has no embedding
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
    def decoded(self, frame): ...
    def state_changed(self): ...

    def step_done(self, frame, result, instruction):
        self.results.put(result.invalidated)

    def step_failed(self, frame, error):
        self.results.put(repr(error))


def test_the_node_tells_its_cameras_apart():
    from vla_infoentropy_ros.driving.images import RawPicture
    from vla_infoentropy_ros.driving.intake import Frame
    from vla_infoentropy_ros.driving.runner import PolicyRunner
    from vla_infoentropy_ros.driving.settings import PolicyNodeSettings

    told, answers = Told(), []
    runner = PolicyRunner(PolicyNodeSettings.from_values({
        "model": "test.nodes.policies:load", "self_test": "",
        "selector": "attention_drift", "selection.fresh_tokens": 3}), told)
    try:
        runner.start()
        runner.set_instruction("pick up")
        while runner.instruction != "pick up":
            time.sleep(0.01)
        for number, camera in enumerate(("left", "left", "right", "right")):
            pixels = frames(4)[number]
            height, width, _ = pixels.shape
            picture = RawPicture("rgb8", width, height, 3 * width, pixels.tobytes())
            runner.post(Frame(
                (picture,), number * SECOND // 10, camera, number, 0, number * SECOND // 10))
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
    layer = session.policy.decoder.model.layers[2].mlp
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


@pytest.mark.parametrize("dropped", [1, 8])
@pytest.mark.parametrize("selector", ["vla_pruner", "fastv"])
def test_a_pruned_step_leaves_nothing_to_reuse(selector, dropped):
    session, sequence = session_of(selector), frames(8)
    session.set_selector(
        build_selector(selector, settings=replace(SMALL, prune_ratio=dropped / 16)))
    for frame in sequence[:6]:
        result = session.step([frame])
    assert result.report.pruned == dropped and result.report.fresh == 16 - dropped
    assert (result.report.reasons == reasons.PRUNED).sum() == dropped
    assert result.invalidated == "", "the pruner itself reads no keys of earlier steps"
    # The rule holds on its own, without the reset that a change of selector brings.
    session.selector = build_selector("stale")
    result = session.step([sequence[6]])
    assert result.invalidated == "pruned_step"
    assert_same_as_first_frame(result, sequence[6])


def test_nan_in_the_network_gives_no_action():
    policy = TinyPolicy()
    session = session_of(policy=policy)
    policy.decoder.model.norm.weight[0] = float("nan")
    with pytest.raises(StepError, match="NaN"):
        session.step([frames(1)[0]])


@pytest.mark.parametrize("decode", ["greedy", "window"])
@pytest.mark.parametrize("selector", SELECTORS)
def test_a_nan_frame_does_not_outlive_its_step(selector, decode):
    """Whatever the failed step left, in slots, history or draft, the next is a first frame."""
    policy, sequence = TinyPolicy(), frames(9, changed=60)
    session, new = session_of(selector, decode, policy), session_of(selector, decode)
    for frame in sequence[:5]:
        session.step([frame])
    embed = policy.embed_vision
    policy.embed_vision = lambda pixels: embed(pixels) * float("nan")
    with pytest.raises(StepError, match="NaN"):
        session.step([sequence[5]])
    policy.embed_vision = embed
    # `random` draws by the number of the step, which a failed one does not set back.
    for number, frame in enumerate(sequence[5 : 6 if selector == "random" else 9]):
        ours, expected = session.step([frame]), new.step([frame])
        assert ours.invalidated == ("" if number else "exception")
        assert ours.action.token_ids == expected.action.token_ids
        assert torch.equal(session._decoder.cache.keys, new._decoder.cache.keys)
        assert torch.equal(session._decoder.cache.values, new._decoder.cache.values)
        assert (ours.report.reasons == expected.report.reasons).all()


def test_nan_in_what_a_step_does_not_read_gives_no_action_either():
    """A reused token's embedding feeds nothing today, and would drift unseen for ever."""
    policy, frame = TinyPolicy(), frames(1)[0]
    session = session_of("stale", policy=policy)
    session.step([frame])
    embed = policy.embed_vision
    policy.embed_vision = lambda pixels: embed(pixels).index_fill(
        0, torch.tensor([3]), float("nan"))
    with pytest.raises(StepError, match="NaN"):
        session.step([frame])


@pytest.mark.parametrize("position", range(7))
def test_nan_behind_any_action_token_gives_no_action(position):
    policy = TinyPolicy()
    session, calls = session_of("dense", policy=policy), []

    def spoil(module, arguments, logits):
        calls.append(logits)
        return logits * float("nan") if len(calls) == position + 1 else logits

    policy.decoder.lm_head.register_forward_hook(spoil)
    with pytest.raises(StepError, match="NaN"):
        session.step([frames(1)[0]])


def test_a_frame_without_stamp_hides_neither_gap_nor_reversal():
    for stamp_s, reason in ((0.5, ""), (9.0, "frame_gap"), (0.1, "clock_backwards")):
        session, frame = started(), frames(4)[3]  # its last stamp is 0.4 s
        assert session.step([frame]).invalidated == ""
        assert session.step([frame], stamp_ns=int(stamp_s * SECOND)).invalidated == reason


def test_the_stamp_counts_from_a_clock_reversal_on():
    session, frame = started(), frames(4)[3]
    for stamp_s, reason in ((0.1, "clock_backwards"), (0.2, ""), (0.1, "clock_backwards"),
                            (5.0, "frame_gap")):
        assert session.step([frame], stamp_ns=int(stamp_s * SECOND)).invalidated == reason


def test_another_selector_begins_at_step_0_and_without_draft():
    session, frame = started(decode="window"), frames(4)[3]
    session.set_selector(build_selector("attention_drift", settings=SMALL))
    result = session.step([frame])
    assert (result.t, result.decoder_passes, session.steps) == (0, 7, 1)


@pytest.mark.parametrize("view", [0, 1])
def test_the_size_of_every_view_is_watched(view):
    policy = TinyPolicy(views=2)
    session = session_of(policy=policy)
    pictures = [frames(1)[0], frames(1, seed=1)[0]]
    for _ in range(3):
        result = session.step(pictures)
    assert result.invalidated == ""
    pictures[view] = np.zeros((32, 32, 3), dtype=np.uint8)
    assert session.step(pictures).invalidated == "image_changed"
