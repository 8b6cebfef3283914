# SPDX-License-Identifier: Apache-2.0
"""Sessions of a policy that acts by flow: the same step, another head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from test.models.tiny_flow import tiny_flow_policy
from test.session.helpers import REUSING, SMALL
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine import layer, partial_decoder
from vla_infoentropy_ros.engine.heads import Turn
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.session import (
    Session,
    SessionOptions,
    StepError,
    decoding,
)

INSTRUCTION = "put red"


def session_of(
    selector: str = "attention_drift", policy: EmbeddedFlowPolicy | None = None,
    settings: SelectionSettings = SMALL,
) -> Session:
    session = Session(policy or tiny_flow_policy(), build_selector(selector, "linear", settings))
    session.set_instruction(INSTRUCTION)
    return session


def pictures(count: int, changed: int = 600) -> list[np.ndarray]:
    return frames(count, changed=changed, side=56)


def dense_chunk(policy: EmbeddedFlowPolicy, picture: np.ndarray, t: int) -> np.ndarray:
    """The head by itself, in a cache of its own."""
    with torch.inference_mode():
        visual = policy.embed_vision(policy.preprocess([picture]).pixels)
        ids = policy.tokenize(INSTRUCTION).token_ids
        embed = policy.backbone.embed_tokens
        decoder = PartialDecoder(policy.backbone, policy.head.layout(16, ids.shape[0]), ())
        prompt = torch.cat((embed(torch.tensor([policy.bos_token_id])), visual, embed(ids)))
        turn = Turn(t, None, None, Stopwatch(torch.device("cpu")))
        decided = policy.head.act(decoder, prompt, TokenPlan.dense(16), turn)
    return policy.decode_action(decided.numbers().tolist()).chunk


def test_the_dense_session_gives_the_heads_chunks() -> None:
    session = session_of("dense")
    for t, picture in enumerate(pictures(3)):
        result = session.step([picture])
        expected = dense_chunk(session.policy, picture, t)
        assert result.action.chunk.shape == (3, 7) and result.action.token_ids == ()
        np.testing.assert_allclose(result.action.chunk, expected, atol=1e-7)
        np.testing.assert_array_equal(result.action.values, result.action.chunk[0])
        assert result.decoder_passes == 1 + 4 and result.flops > 0


def test_fewer_euler_steps_are_fewer_passes_and_other_actions() -> None:
    session, picture = session_of("dense"), pictures(1)[0]
    usual = session.step([picture])
    session.set_options(SessionOptions(euler_steps=2))
    session.reset("new_episode")
    fewer = session.step([picture])
    assert (usual.decoder_passes, fewer.decoder_passes) == (1 + 4, 1 + 2)
    assert 0 < np.abs(usual.action.chunk - fewer.action.chunk).max() < 1
    per_step = (usual.flops - fewer.flops) / 2
    assert fewer.flops > per_step > 0
    session.set_options(SessionOptions(euler_steps=4))
    session.reset("new_episode")
    np.testing.assert_array_equal(session.step([picture]).action.chunk, usual.action.chunk)


def test_a_policy_that_acts_by_tokens_takes_no_euler_steps() -> None:
    with pytest.raises(SettingError, match=r"euler_steps=3: .* acts by tokens"):
        Session(TinyPolicy(), build_selector("dense"), SessionOptions(euler_steps=3))


def test_bins_are_accepted_where_there_is_a_draft_of_tokens() -> None:
    with pytest.raises(SettingError, match="accept_bins=4: only decode=window has a draft"):
        SessionOptions(accept_bins=4)
    options = SessionOptions("window", accept_bins=4)
    Session(TinyPolicy(), build_selector("dense"), options)
    with pytest.raises(SettingError, match=r"accept_bins=4: .* has no action tokens"):
        Session(tiny_flow_policy(), build_selector("dense"), options)


@pytest.mark.parametrize("selector", REUSING)
def test_every_reusing_selector_runs_and_a_still_picture_is_dense(selector: str) -> None:
    session = session_of(selector, settings=replace(SMALL, cache_evicted=4))
    picture = pictures(1)[0]
    results = [session.step([picture]) for _ in range(4)]
    assert results[0].report.fresh == 16 and results[-1].report.reused > 0
    for t, result in enumerate(results):
        expected = dense_chunk(session.policy, picture, t)
        np.testing.assert_allclose(result.action.chunk, expected, atol=1e-6)


def test_a_keyframe_brings_dense_back_where_partial_steps_left_it() -> None:
    session = session_of(settings=replace(SMALL, keyframe_every=5))
    moving = pictures(4, changed=4000)
    results = [session.step([picture]) for picture in moving]
    results += [session.step([moving[-1]]) for _ in range(2)]
    fresh = [result.report.fresh for result in results]
    assert fresh[0] == fresh[5] == 16 and max(fresh[1:5]) < 16
    off = [
        float(np.abs(result.action.chunk - dense_chunk(session.policy, picture, t)).max())
        for t, (result, picture) in enumerate(
            zip(results, [*moving, moving[-1], moving[-1]], strict=True)
        )
    ]
    assert min(off[1:5]) > 1e-5 and off[5] < 1e-6


def test_attention_comes_from_the_text_rows_of_layers_that_decide() -> None:
    session = session_of()
    session.step([pictures(1)[0]])
    attention = session._episode.attention
    assert attention is not None
    text = session.policy.tokenize(INSTRUCTION).token_ids.shape[0]
    assert attention.text.shape == (len(attention.layers), text, 16)
    assert attention.action.shape[1] == 0
    assert max(attention.layers) == len(session.policy.backbone.layers) - 2


def test_another_instruction_reuses_nothing() -> None:
    session, picture = session_of(), pictures(1)[0]
    session.step([picture])
    session.set_instruction("put blue")
    result = session.step([picture])
    assert result.invalidated == "instruction_changed" and result.report.fresh == 16


def test_nan_gives_no_action() -> None:
    policy = tiny_flow_policy()
    session = session_of(policy=policy)
    with torch.no_grad():
        policy.network.expert.action_out.bias[0] = float("nan")
    with pytest.raises(StepError, match="NaN"):
        session.step([pictures(1)[0]])


@pytest.mark.parametrize("selector", ["vla_pruner", "fastv"])
def test_pruning_is_refused_before_a_step(selector: str) -> None:
    with pytest.raises(SettingError, match=f"selector='{selector}' hides tokens"):
        session_of(selector)
    session = session_of()
    with pytest.raises(SettingError, match="reads them all"):
        session.set_selector(build_selector(selector))
    assert session.step([pictures(1)[0]]).report.fresh == 16


@pytest.mark.parametrize(("option", "says"), [
    ({"entropy_gate": 0.5}, "entropy_gate=0.5"),
])
def test_options_for_tokens_are_refused(option: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Session(tiny_flow_policy(), build_selector("dense"), SessionOptions(**option))
    with pytest.raises(SettingError, match=says):
        session_of().set_options(SessionOptions(**option))


def test_there_are_no_tokens_to_verify_which_is_said() -> None:
    """The recommended way to decode must not keep a flow policy from running."""
    window, policy = SessionOptions(decode="window"), tiny_flow_policy()
    session, picture = session_of(policy=policy), pictures(1)[0]
    usual = [session.step([picture]).action.chunk for _ in range(2)]
    session.reset("new_episode")
    session.set_options(window)
    for chunk in usual:
        np.testing.assert_array_equal(session.step([picture]).action.chunk, chunk)
    assert decoding(policy, window) == "greedy"


def test_the_self_test_passes() -> None:
    report = run_selftest(tiny_flow_policy(), INSTRUCTION)
    assert report.passed, report.table()


@pytest.mark.parametrize("sees", ["prefix", "images"])
def test_probed_expert_rows_are_those_of_the_last_euler_step(
    sees: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a softmax over what attention was really given."""
    settings = SelectionSettings(fresh_tokens=4, drift_rows="action")
    session = session_of(policy=tiny_flow_policy(sees), settings=settings)
    taken: list[torch.Tensor] = []

    def attended(attention, query, keys, values, mask):  # type: ignore[no-untyped-def]
        scores = query @ keys.transpose(-1, -2) * attention.scaling
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        taken.append(scores.softmax(-1)[0].mean(0))
        return layer.attended(attention, query, keys, values, mask)

    monkeypatch.setattr(partial_decoder, "attended", attended)
    for picture in pictures(2):
        session.step([picture])
    attention = session._episode.attention
    depth, columns = 5, session.decoder.layout.visual_columns
    expected = torch.stack(taken[-depth:])[: depth - 1, :, columns]
    assert attention is not None and attention.action.shape == (depth - 1, 3, 16)
    assert torch.allclose(attention.action, expected, atol=1e-6)
    session.set_selector(build_selector("attention_drift", settings=SMALL))
    session.step([picture])
    read = session._episode.attention
    assert read is not None and read.action.shape[1] == 0, "nobody asked for them"
