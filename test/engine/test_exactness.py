# SPDX-License-Identifier: Apache-2.0
"""The engine against the dense model: the tests that everything else stands on."""

from __future__ import annotations

import pytest
import torch

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.heads import Decoded
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan

VISUAL, TEXT, ACTION = 16, 5, 7
DTYPES = [torch.float32, torch.bfloat16]
KV_HEADS = [4, 2]  # plain and grouped queries
ALL_LAYERS = (0, 1, 2, 3)


def sequence_of(policy: TinyPolicy, seed: int, draft: torch.Tensor | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    embed = policy.decoder.model.embed_tokens
    visual = torch.randn(VISUAL, 32, generator=generator).to(embed.weight.dtype)
    text = torch.randint(2, 28, (TEXT,), generator=torch.Generator().manual_seed(99))
    parts = [embed(torch.tensor([1])), visual, embed(text)]
    if draft is not None:
        parts.append(embed(draft))
    return torch.cat(parts)[None]


def greedy(decoder: PartialDecoder, policy: TinyPolicy, hidden: torch.Tensor) -> Decoded:
    return heads.greedy(decoder, policy.decoder.lm_head, hidden)


def window(
    decoder: PartialDecoder, policy: TinyPolicy, hidden: torch.Tensor, draft: torch.Tensor
) -> Decoded:
    return heads.window(decoder, policy.decoder.lm_head, hidden, draft)


def decoder_of(policy: TinyPolicy) -> PartialDecoder:
    return PartialDecoder(policy.decoder.model, Layout(VISUAL, TEXT, ACTION), ALL_LAYERS)


def reference(policy: TinyPolicy, embeddings: torch.Tensor, attn: str = "sdpa") -> object:
    """transformers' own full forward, no cache, given the causal mask as booleans."""
    length = embeddings.shape[1]
    policy.decoder.config._attn_implementation = attn
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    if attn == "eager":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    return policy.decoder.model(
        inputs_embeds=embeddings, attention_mask=mask, use_cache=False,
        output_attentions=attn == "eager",
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_empty_reuse_set_is_the_dense_model_bit_for_bit(dtype, kv_heads):
    policy = TinyPolicy(dtype=dtype, kv_heads=kv_heads)
    embeddings = sequence_of(policy, 1)
    with torch.inference_mode():
        expected = reference(policy, embeddings).last_hidden_state
        decoder = decoder_of(policy)
        decoder.prefill(sequence_of(policy, 2), TokenPlan.dense(VISUAL))  # a dirty cache
        every = torch.arange(VISUAL)
        for plan in (
            TokenPlan.dense(VISUAL),
            TokenPlan.reuse(every, VISUAL),
            TokenPlan.reuse(every, VISUAL, from_layer=2),
        ):
            hidden = decoder.prefill(embeddings, plan)
            assert torch.equal(hidden, expected[:, 1 + VISUAL :])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_heads", KV_HEADS)
@pytest.mark.parametrize("from_layer", [0, 2])
@pytest.mark.parametrize("fresh", [[], [3], [0, 5, 15], list(range(0, 16, 2))])
def test_unchanged_frame_with_any_reuse_is_dense(dtype, kv_heads, from_layer, fresh):
    # In bf16 another number of rows may be summed in another order: a few units of 2^-8.
    policy = TinyPolicy(dtype=dtype, kv_heads=kv_heads, scale=0.2)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    embeddings = sequence_of(policy, 1)
    with torch.inference_mode():
        decoder = decoder_of(policy)
        dense = decoder.prefill(embeddings, TokenPlan.dense(VISUAL))
        plan = TokenPlan.reuse(torch.tensor(fresh, dtype=torch.int64), VISUAL, from_layer)
        assert torch.allclose(decoder.prefill(embeddings, plan), dense, atol=tolerance)


def test_stale_keys_and_values_change_the_result():
    """The opposite control: a cache that did nothing would pass the test above."""
    policy = TinyPolicy()
    with torch.inference_mode():
        decoder = decoder_of(policy)
        decoder.prefill(sequence_of(policy, 1), TokenPlan.dense(VISUAL))
        none = torch.zeros(0, dtype=torch.int64)
        stale = decoder.prefill(sequence_of(policy, 2), TokenPlan.reuse(none, VISUAL))
        fresh = decoder.prefill(sequence_of(policy, 2), TokenPlan.dense(VISUAL))
        first = decoder.prefill(sequence_of(policy, 1), TokenPlan.dense(VISUAL))
    assert not torch.allclose(stale, fresh, atol=1e-2)
    assert torch.allclose(stale, first, atol=1e-5)


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_nested_stages_mix_fresh_and_kept_layers(kv_heads):
    """Tokens left out at layer 2 keep the old keys there, but have new ones in layers 0 and 1."""
    policy = TinyPolicy(kv_heads=kv_heads)
    every, some, few = torch.arange(VISUAL), torch.tensor([1, 4, 9, 12]), torch.tensor([4, 12])
    with torch.inference_mode():
        decoder = decoder_of(policy)
        decoder.prefill(sequence_of(policy, 1), TokenPlan.dense(VISUAL))
        old = decoder.cache.keys.clone()
        decoder.prefill(
            sequence_of(policy, 2), TokenPlan((Stage(0, every), Stage(1, some), Stage(3, few)))
        )
        changed = (decoder.cache.keys != old).any(-1).all(2)[:, 0, 1 : 1 + VISUAL]
    assert changed[0].all()
    assert changed[1].nonzero().squeeze(-1).tolist() == some.tolist()
    assert changed[2].nonzero().squeeze(-1).tolist() == some.tolist()
    assert changed[3].nonzero().squeeze(-1).tolist() == few.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_probe_rows_equal_eager_attention(dtype, kv_heads):
    policy = TinyPolicy(dtype=dtype, kv_heads=kv_heads, scale=0.2)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    with torch.inference_mode():
        decoder = decoder_of(policy)
        hidden = decoder.prefill(sequence_of(policy, 1), TokenPlan.dense(VISUAL))
        tokens = greedy(decoder, policy, hidden)
        measured = decoder.attention(ACTION - 1)
        full = sequence_of(policy, 1, draft=tokens.tokens[:-1])
        maps = torch.stack(reference(policy, full, attn="eager").attentions)
    expected = maps[:, 0].float().mean(1)[:, 1 + VISUAL :, 1 : 1 + VISUAL]
    assert measured.layers == ALL_LAYERS
    assert torch.allclose(measured.text, expected[:, :TEXT], atol=tolerance)
    assert torch.allclose(measured.action, expected[:, TEXT:], atol=tolerance)


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_greedy_tokens_equal_full_forwards(kv_heads):
    policy = TinyPolicy(kv_heads=kv_heads)
    for seed in range(10):
        with torch.inference_mode():
            decoder = decoder_of(policy)
            hidden = decoder.prefill(sequence_of(policy, seed), TokenPlan.dense(VISUAL))
            tokens = greedy(decoder, policy, hidden).tokens
            expected: list[int] = []
            for _ in range(ACTION):
                draft = torch.tensor(expected, dtype=torch.int64)
                states = reference(policy, sequence_of(policy, seed, draft)).last_hidden_state
                expected.append(int(policy.decoder.lm_head(states[0, -1]).argmax()))
        assert tokens.tolist() == expected


def test_draft_window_gives_the_greedy_tokens():
    """200 random cases: right, wrong and half-right drafts, partial plans, with and without GQA."""
    cases = 0
    for seed in range(50):
        policy = TinyPolicy(seed=seed % 5, kv_heads=KV_HEADS[seed % 2])
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            for share in (0.0, 0.3, 0.7, 1.0):
                decoder = decoder_of(policy)
                decoder.prefill(sequence_of(policy, 1000 + seed), TokenPlan.dense(VISUAL))
                fresh = torch.randperm(VISUAL, generator=generator)[: seed % 17].sort().values
                plan = TokenPlan.reuse(fresh, VISUAL, from_layer=seed % 3)
                hidden = decoder.prefill(sequence_of(policy, seed), plan)
                strict = greedy(decoder, policy, hidden)
                noise = torch.randint(2, 64, (ACTION - 1,), generator=generator)
                right = torch.rand(ACTION - 1, generator=generator) < share
                draft = torch.where(right, strict.tokens[:-1], noise)
                hidden = decoder.prefill(sequence_of(policy, seed, draft), plan)
                fast = window(decoder, policy, hidden, draft)
                assert fast.tokens.tolist() == strict.tokens.tolist()
                assert fast.passes <= ACTION
                if share == 1.0:
                    assert fast.passes == 1
                cases += 1
    assert cases == 200


def test_a_draft_that_is_off_by_a_few_bins_is_taken_when_told():
    policy = TinyPolicy()
    with torch.inference_mode():
        decoder = decoder_of(policy)
        plan = TokenPlan.dense(VISUAL)
        strict = greedy(decoder, policy, decoder.prefill(sequence_of(policy, 1), plan))
        off = torch.tensor([0, 3, 0, -2, 0, 0])
        draft = strict.tokens[:-1] + off

        def decoded(bins):
            hidden = decoder.prefill(sequence_of(policy, 1, draft), plan)
            return heads.window(decoder, policy.decoder.lm_head, hidden, draft, bins)

        exact, near = decoded(0), decoded(255)
        rows = decoder.extend(policy.decoder.model.embed_tokens(draft[None]), 1 + VISUAL + TEXT)
        follows = policy.decoder.lm_head(rows).argmax(-1)[0]
    assert exact.passes > 1 and exact.tokens.tolist() == strict.tokens.tolist()
    assert near.passes == 1 and near.tokens[1:].tolist() == follows.tolist()
    worst = int((near.tokens[:-1] - draft).abs().max())
    with torch.inference_mode():
        assert decoded(worst).passes == 1 and decoded(worst - 1).passes > 1


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_draft_window_in_bf16_ends_at_a_fixed_point(kv_heads):
    """bf16 breaks near-ties differently for one row than for six, so the greedy sequence need
    not come out token for token; what comes out is verified by the kernels that made it."""
    policy = TinyPolicy(dtype=torch.bfloat16, kv_heads=kv_heads)
    agreed = 0
    for seed in range(20):
        with torch.inference_mode():
            decoder = decoder_of(policy)
            generator = torch.Generator().manual_seed(seed)
            draft = torch.randint(2, 64, (ACTION - 1,), generator=generator)
            plan = TokenPlan.dense(VISUAL)
            hidden = decoder.prefill(sequence_of(policy, seed, draft), plan)
            result = window(decoder, policy, hidden, draft)
            again = decoder.extend(
                policy.decoder.model.embed_tokens(result.tokens[None, :-1]), 1 + VISUAL + TEXT)
            verified = policy.decoder.lm_head(again).argmax(-1)[0]
            hidden = decoder.prefill(sequence_of(policy, seed), plan)
            strict = greedy(decoder, policy, hidden)
        assert verified.tolist() == result.tokens[1:].tolist()
        agreed += result.tokens.tolist() == strict.tokens.tolist()
    assert agreed >= 10


@pytest.mark.parametrize("kv_heads", KV_HEADS)
def test_pruned_tokens_are_gone_from_their_layer_on(kv_heads):
    """Against transformers run by hand: two layers in full, then only the kept rows."""
    policy = TinyPolicy(kv_heads=kv_heads)
    kept = torch.tensor([2, 3, 7, 11])
    seen = []

    def choose(attention: torch.Tensor) -> torch.Tensor:
        seen.append(attention)
        return kept

    plan = TokenPlan((Stage(0, torch.arange(VISUAL)),), Pruning(2, choose))
    embeddings = sequence_of(policy, 1)
    with torch.inference_mode():
        decoder = decoder_of(policy)
        hidden = decoder.prefill(embeddings, plan)
        tokens = greedy(decoder, policy, hidden).tokens
        maps = reference(policy, embeddings, attn="eager").attentions[1]
        full = sequence_of(policy, 1, draft=tokens[:-1])
        expected = _pruned_by_hand(policy, full, kept, layer=2)
    assert torch.allclose(seen[0], maps[0].mean(0)[:, 1 : 1 + VISUAL].mean(0), atol=1e-6)
    assert torch.allclose(hidden, expected[:, -TEXT - ACTION + 1 : -ACTION + 1], atol=1e-5)
    logits = policy.decoder.lm_head(expected[0, -ACTION:])
    assert tokens.tolist() == logits.argmax(-1).tolist()


def _pruned_by_hand(policy, embeddings, kept, layer):
    model = policy.decoder.model
    policy.decoder.config._attn_implementation = "sdpa"
    length = embeddings.shape[1]
    positions = torch.arange(length)
    keep = torch.cat((torch.tensor([0]), kept + 1, torch.arange(1 + VISUAL, length)))
    hidden = embeddings
    for index, block in enumerate(model.layers):
        if index == layer:
            hidden, positions = hidden[:, keep], positions[keep]
        count = positions.shape[0]
        mask = torch.ones(count, count, dtype=torch.bool).tril()[None, None]
        rotary = model.rotary_emb(hidden, positions[None])
        hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
    return model.norm(hidden)
