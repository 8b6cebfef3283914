# SPDX-License-Identifier: Apache-2.0
"""Flow policies through the engine against plain forwards of the same network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from test.models.tiny_flow import tiny_flow_policy
from vla_infoentropy_ros.engine.flow import FlowHead, integrate
from vla_infoentropy_ros.engine.heads import Turn
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import PlanError, Pruning, TokenPlan
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
from vla_infoentropy_ros.training.flow import run_expert, run_prefix

VISUAL = 16
INSTRUCTION = "put red"
SEES = ["prefix", "images"]


def turn(t: int = 0) -> Turn:
    return Turn(t, None, None, Stopwatch(torch.device("cpu")))


def prompt_of(policy: EmbeddedFlowPolicy, seed: int) -> torch.Tensor:
    """(S, d): BOS, a random picture, the instruction."""
    embed = policy.backbone.embed_tokens
    visual = torch.randn(VISUAL, 24, generator=torch.Generator().manual_seed(seed))
    ids = policy.tokenize(INSTRUCTION).token_ids
    return torch.cat((embed(torch.tensor([policy.bos_token_id])), visual, embed(ids)))


def decoder_of(policy: EmbeddedFlowPolicy) -> PartialDecoder:
    text = policy.tokenize(INSTRUCTION).token_ids.shape[0]
    return PartialDecoder(policy.backbone, policy.head.layout(VISUAL, text), ())


def by_hand(policy: EmbeddedFlowPolicy, seed: int, noise: torch.Tensor) -> torch.Tensor:
    """The chunk (1, H, a) by forwards that keep nothing, as training runs them."""
    ids = policy.tokenize(INSTRUCTION).token_ids[None]
    visual = prompt_of(policy, seed)[None, 1 : 1 + VISUAL]
    prefix = run_prefix(policy.network, visual, ids, None, policy.bos_token_id)
    if policy.config.flow.sees == "images":
        prefix = prefix.narrow(slice(1, 1 + VISUAL))
    chunk, steps = noise, policy.config.flow.steps
    for step in range(steps):
        now = torch.full((1, 1), 1.0 - step / steps)
        first = 1 + VISUAL + ids.shape[1]
        velocity = run_expert(policy.network, chunk[:, None], now, prefix, first)
        chunk = chunk - velocity[:, 0] / steps
    return chunk


@pytest.mark.parametrize("sees", SEES)
def test_a_full_plan_is_the_plain_forward(sees: str) -> None:
    policy = tiny_flow_policy(sees)
    with torch.inference_mode():
        decoder = decoder_of(policy)
        policy.head.act(decoder, prompt_of(policy, 2), TokenPlan.dense(VISUAL), turn())
        got = policy.head.act(decoder, prompt_of(policy, 1), TokenPlan.dense(VISUAL), turn(3))
        expected = by_hand(policy, 1, policy.flow.noise(3))
    assert torch.allclose(got.chunk, expected[0], atol=1e-6)
    assert not torch.allclose(got.chunk, policy.flow.noise(3)[0], atol=1e-2)
    assert got.passes == 1 + policy.config.flow.steps


@pytest.mark.parametrize("sees", SEES)
@pytest.mark.parametrize("fresh", [[], [3], [0, 5, 15]])
def test_unchanged_frame_with_any_plan_is_dense(sees: str, fresh: list[int]) -> None:
    policy = tiny_flow_policy(sees)
    plan = TokenPlan.reuse(torch.tensor(fresh, dtype=torch.int64), VISUAL)
    with torch.inference_mode():
        decoder = decoder_of(policy)
        dense = policy.head.act(decoder, prompt_of(policy, 1), TokenPlan.dense(VISUAL), turn())
        again = policy.head.act(decoder, prompt_of(policy, 1), plan, turn())
        other = policy.head.act(decoder, prompt_of(policy, 2), plan, turn())
    assert torch.allclose(again.chunk, dense.chunk, atol=1e-5)
    fresh_elsewhere = bool(fresh)
    assert torch.allclose(other.chunk, dense.chunk, atol=1e-5) != fresh_elsewhere


def test_words_reach_the_action_where_the_expert_sees_images_alone() -> None:
    """Through the picture's rows, and so only by a pass that computes them."""
    policy = tiny_flow_policy("images")
    none = TokenPlan.reuse(torch.zeros(0, dtype=torch.int64), VISUAL)
    with torch.inference_mode():
        decoder, prompt = decoder_of(policy), prompt_of(policy, 1)
        first = policy.head.act(decoder, prompt, TokenPlan.dense(VISUAL), turn())
        prompt[1 + VISUAL :] += 1.0
        kept = policy.head.act(decoder, prompt, none, turn())
        dense = policy.head.act(decoder, prompt, TokenPlan.dense(VISUAL), turn())
    assert torch.allclose(kept.chunk, first.chunk, atol=1e-6)
    assert not torch.allclose(dense.chunk, first.chunk, atol=1e-4)


def test_noise_is_that_of_the_step_and_integration_is_eulers() -> None:
    policy = tiny_flow_policy()
    head = policy.flow
    assert torch.equal(head.noise(5), head.noise(5))
    assert not torch.equal(head.noise(5), head.noise(6))

    class Straight:
        """dx/dt = time: the sum of Euler's times is known."""

        def velocity(self, decoder: object, chunk: torch.Tensor, time: float) -> torch.Tensor:
            return torch.full_like(chunk, time)

    start = torch.zeros(1, 2, 3)
    moved = integrate(Straight(), None, start, 4)  # type: ignore[arg-type]
    assert torch.allclose(moved, torch.full_like(start, -(1.0 + 0.75 + 0.5 + 0.25) / 4))


def test_cost_is_what_the_counter_sees() -> None:
    from vla_infoentropy_ros.engine.flops import measure_flops

    policy = tiny_flow_policy()
    plan = TokenPlan.reuse(torch.tensor([1, 4, 9]), VISUAL)
    with torch.inference_mode():
        decoder, prompt = decoder_of(policy), prompt_of(policy, 1)
        policy.head.act(decoder, prompt, TokenPlan.dense(VISUAL), turn())
        decided = policy.head.act(decoder, prompt, plan, turn())
        seen = measure_flops(lambda: policy.head.act(decoder, prompt, plan, turn()))
        assert policy.head.cost(decoder, plan, decided).flops == seen


def test_what_a_flow_cannot_do_is_refused() -> None:
    policy = tiny_flow_policy()
    with pytest.raises(ValueError, match="steps=0"):
        FlowHead(policy.flow.expert, 0)
    plan = replace(TokenPlan.dense(VISUAL), pruning=Pruning(1, lambda attention: attention))
    with pytest.raises(PlanError, match="none can be pruned"):
        policy.head.act(decoder_of(policy), prompt_of(policy, 1), plan, turn())
