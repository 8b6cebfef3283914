# SPDX-License-Identifier: Apache-2.0
"""Sessions: what steps cost, in operations, memory and waiting."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from test.session.helpers import (
    REUSING,
    SMALL,
    first_result,
    session_of,
)
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine import ridge
from vla_infoentropy_ros.engine.flops import measure_flops, papers_macs
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection import (
    SELECTORS,
    SelectionSettings,
    build_selector,
)
from vla_infoentropy_ros.session import Session, SessionOptions


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
    from vla_infoentropy_ros.msg import InferenceStatus

    from vla_infoentropy_ros.driving.telling import step_values
    from vla_infoentropy_ros.nodes.messages import fill

    result, status = first_result(frames(1)[0]), InferenceStatus()
    fill(status, step_values(result))
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


def test_top_up_to_the_measured_ridge():
    settings = SelectionSettings(fresh_tokens=1, top_up_to=-1)
    session = Session(TinyPolicy(), build_selector("attention_drift", settings=settings))
    session.set_instruction("pick up")
    for frame in frames(3, changed=300):
        report = session.step([frame]).report
    assert 1 <= report.fresh == max(session._ridge, 1) <= 16


@pytest.mark.parametrize(("dear_from", "ridge_at"), [(2, 1), (3, 2), (12, 10), (99, 16)])
def test_the_ridge_is_the_last_count_before_a_pass_takes_longer(monkeypatch, dear_from, ridge_at):
    """Of 16 tokens 1, 2, 4, 6, 8, 10, 12, 14 and 16 are timed; up to 5 % more is the same."""
    monkeypatch.setattr(ridge, "_median_s", lambda decoder, sequence, count: (
        1.0 if count == 1 else 1.04 if count < dear_from else 1.06))
    session = Session(TinyPolicy(), build_selector("dense"))
    session.set_instruction("pick up")
    assert ridge.measure_ridge(session._decoder) == ridge_at


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


def test_many_steps_in_constant_memory():
    """No tensor outlives its step but those that the session owns from the start."""
    session, sequence = session_of(decode="window"), frames(10, changed=60)

    def living() -> int:
        gc.collect()
        return sum(
            each.numel() * each.element_size() for each in gc.get_objects()
            if issubclass(type(each), torch.Tensor)
        )

    counts = []
    for step in range(600):
        session.step([sequence[step % 10]])
        if step % 200 == 199:
            counts.append(living())
    assert len(set(counts)) == 1
