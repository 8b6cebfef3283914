# SPDX-License-Identifier: Apache-2.0
"""The probe reads the attention that was paid: which rows, which layers, which keys, what type."""

from __future__ import annotations

import pytest
import torch

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, attention_to

VISUAL, TEXT, ACTION = 16, 5, 7
LAYOUT = Layout(VISUAL, TEXT, ACTION)
PROMPT = LAYOUT.prompt


def prompt_of(policy: TinyPolicy, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, PROMPT, 32, generator=generator).to(policy.decoder.dtype)


def attention_of(
    policy: TinyPolicy, layers: tuple[int, ...], plan: TokenPlan, seed: int = 1
) -> tuple[Attention, torch.Tensor]:
    """Of one greedy step, and the tokens that it gave."""
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, LAYOUT, layers)
        hidden = decoder.prefill(prompt_of(policy, seed), plan)
        tokens = heads.greedy(decoder, policy.decoder.lm_head, hidden).tokens
        return decoder.attention(policy.head.action_rows_read(LAYOUT)), tokens


def by_hand(policy: TinyPolicy, sequence: torch.Tensor, hidden_from: int = 99,
            kept: torch.Tensor | None = None) -> list[torch.Tensor]:
    """(rows, rows) of every layer, mean over heads, from the layers' own projections; from layer
    ``hidden_from`` on the visual tokens that are not ``kept`` are no keys for anybody."""
    model, maps, hidden = policy.decoder.model, [], sequence
    length = sequence.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    rotary = model.rotary_emb(hidden, torch.arange(length)[None])
    policy.decoder.config._attn_implementation = "eager"
    for index, layer in enumerate(model.layers):
        allowed = causal.clone()
        if index >= hidden_from:
            gone = torch.ones(VISUAL, dtype=torch.bool).index_fill(0, kept, False)
            allowed[:, 1 : 1 + VISUAL] &= ~gone
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        normed = layer.input_layernorm(hidden)
        _, weights = layer.self_attn(
            normed, attention_mask=mask[None, None], position_embeddings=rotary)
        maps.append(weights[0].mean(0))
        hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotary)
    policy.decoder.config._attn_implementation = "sdpa"
    return maps


def full(policy: TinyPolicy, tokens: torch.Tensor, seed: int = 1) -> torch.Tensor:
    fed_back = policy.decoder.model.embed_tokens(tokens[None, :-1])
    return torch.cat((prompt_of(policy, seed), fed_back), 1)


@pytest.mark.parametrize("layers", [(0,), (1, 3), (3,), (0, 1, 2, 3)])
def test_a_subset_of_layers_reads_its_own_keys(layers):
    policy = TinyPolicy(scale=0.2)
    attention, tokens = attention_of(policy, layers, TokenPlan.dense(VISUAL))
    with torch.inference_mode():
        maps = by_hand(policy, full(policy, tokens))
    assert attention.layers == layers
    for index, layer in enumerate(layers):
        rows = maps[layer][:, 1 : 1 + VISUAL]
        assert torch.allclose(attention.text[index], rows[1 + VISUAL : PROMPT], atol=1e-6)
        assert torch.allclose(attention.action[index], rows[PROMPT:], atol=1e-6)


@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 2)])
def test_pruned_keys_are_seen_by_nobody_from_their_layer_on(layers):
    """Neither by the rows of the prompt nor by those decoded, and before that layer by all."""
    policy, kept = TinyPolicy(scale=0.2), torch.tensor([2, 5, 6, 11])
    plan = TokenPlan((Stage(0, torch.arange(VISUAL)),), Pruning(2, lambda scores: kept))
    attention, tokens = attention_of(policy, layers, plan)
    with torch.inference_mode():
        maps = by_hand(policy, full(policy, tokens), hidden_from=2, kept=kept)
    gone = torch.ones(VISUAL, dtype=torch.bool).index_fill(0, kept, False)
    for index, layer in enumerate(layers):
        rows = maps[layer][:, 1 : 1 + VISUAL]
        assert torch.allclose(attention.text[index], rows[1 + VISUAL : PROMPT], atol=1e-6)
        assert torch.allclose(attention.action[index], rows[PROMPT:], atol=1e-6)
        for part in (attention.text[index], attention.action[index]):
            assert (part[:, gone] == 0).all() == (layer >= 2)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("drafts", [0, 6])
def test_a_pruning_asks_rows_of_the_prompt_never_drafts(last, drafts):
    policy, seen = TinyPolicy(scale=0.2), []

    def choose(scores):
        seen.append(scores)
        return torch.arange(8)

    plan = TokenPlan((Stage(0, torch.arange(VISUAL)),), Pruning(2, choose, last))
    sequence = full(policy, torch.arange(3, 3 + ACTION))[:, : PROMPT + drafts]
    with torch.inference_mode():
        PartialDecoder(policy.decoder.model, LAYOUT, ()).prefill(sequence, plan)
        rows = by_hand(policy, sequence)[1][:PROMPT, 1 : 1 + VISUAL]
    assert torch.allclose(seen[0], rows[-1] if last else rows.mean(0), atol=1e-6)


def test_half_precision_does_not_overflow():
    """Products of 65,504 are the end of float16; scaled by the root of the width they are none."""
    queries = torch.full((1, 2, 3, 64), 40.0, dtype=torch.float16)
    keys = torch.full((1, 2, 9, 64), 40.0, dtype=torch.float16)  # 102,400 unscaled
    keys[..., 4, :] = 40.03125
    mask = torch.ones(3, 9, dtype=torch.bool)
    weights = attention_to(queries, keys, mask, slice(1, 8))
    expected = attention_to(queries.float(), keys.float(), mask, slice(1, 8))
    assert weights.isfinite().all() and torch.equal(weights, expected)
    assert weights[0, 0].argmax() == 3 and weights[0, 0, 3] > 0.99


def test_bfloat16_scores_keep_their_digits():
    """Rounded to eight bits, these two scores would be one, and the tie would rank the tokens."""
    queries = torch.full((1, 1, 1, 64), 1.0, dtype=torch.bfloat16)
    keys = torch.full((1, 1, 3, 64), 2.0, dtype=torch.bfloat16)
    keys[0, 0, 2, 0] += 2.0**-6  # 128.015625 against 128
    weights = attention_to(queries, keys, torch.ones(1, 3, dtype=torch.bool), slice(0, 3))
    assert weights[0, 0, 2] > weights[0, 0, 1]


@pytest.mark.parametrize("chosen", ["eager", "sdpa"])
def test_another_user_of_the_model_does_not_freeze_the_attention(chosen):
    policy = TinyPolicy(scale=0.2)
    expected, _ = attention_of(policy, (0, 1, 2, 3), TokenPlan.dense(VISUAL), seed=2)
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, LAYOUT, (0, 1, 2, 3))
        for seed in (1, 2):
            hidden = decoder.prefill(prompt_of(policy, seed), TokenPlan.dense(VISUAL))
            policy.decoder.config._attn_implementation = chosen  # between two passes of a step too
            heads.greedy(decoder, policy.decoder.lm_head, hidden)
            assert policy.decoder.config._attn_implementation == chosen
        attention = decoder.attention(ACTION - 1)
    assert torch.equal(attention.text, expected.text)
    assert torch.equal(attention.action, expected.action)


def test_the_model_is_left_as_it_was():
    policy = TinyPolicy()
    policy.decoder.config._attn_implementation = "eager"
    attention_of(policy, (0,), TokenPlan.dense(VISUAL))
    assert policy.decoder.config._attn_implementation == "eager"
