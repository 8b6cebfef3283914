# SPDX-License-Identifier: Apache-2.0
"""Who sees whom: layouts by hand, and partial passes of a bidirectional prefix against
transformers' own."""

from __future__ import annotations

import pytest
import torch

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import Stage, TokenPlan

VISUAL, TEXT, STATE, ACTION = 9, 4, 1, 3
CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]


def layout_of(state: int = STATE, bos: int = 1) -> Layout:
    return Layout(VISUAL, TEXT, ACTION, bos=bos, state=state, together=True,
                  action_blocks=(ACTION,))


def sequence_of(policy: TinyPolicy, layout: Layout, seed: int) -> torch.Tensor:
    """Another picture for another seed; BOS, text and state are always the same."""
    width = policy.decoder.config.hidden_size
    fixed = torch.randn(1, layout.prompt, width, generator=torch.Generator().manual_seed(1000))
    picture = torch.randn(1, VISUAL, width, generator=torch.Generator().manual_seed(seed))
    fixed[:, layout.visual_columns] = picture
    return fixed.to(policy.decoder.dtype)


def reference(
    policy: TinyPolicy, layout: Layout, sequence: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys, values (layers, heads, n, d) and final hidden states by transformers' own forward."""
    policy.decoder.config._attn_implementation = "sdpa"
    mask = layout.mask(CPU)[: layout.prompt, : layout.prompt][None, None]
    out = policy.decoder.model(inputs_embeds=sequence, attention_mask=mask, use_cache=True)
    layers = out.past_key_values.layers
    return (torch.cat([layer.keys for layer in layers]),
            torch.cat([layer.values for layer in layers]), out.last_hidden_state)


def test_masks_by_hand() -> None:
    causal = Layout(2, 1, 2).mask(CPU)
    assert torch.equal(causal, torch.ones(6, 6, dtype=torch.bool).tril())
    # visual, visual, text | state | two actions that see each other
    blocks = Layout(2, 1, 2, bos=0, state=1, together=True, action_blocks=(2,)).mask(CPU)
    assert blocks.int().tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    single = Layout(2, 1, 2, bos=0, together=True).mask(CPU)
    assert single[3:].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("layout", [Layout(2, 1, 2), layout_of(), layout_of(state=0, bos=0)])
def test_rows_that_see_all_need_no_mask(layout: Layout) -> None:
    mask = layout.mask(CPU)
    for first in range(layout.total):
        for length in range(1, layout.total + 1):
            assert layout.open(first, length) == bool(mask[first:, :length].all()), (first, length)


def test_impossible_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="visual and text"):
        Layout(0, 3, 7)
    with pytest.raises(ValueError, match="action_blocks"):
        Layout(4, 3, 7, action_blocks=(1, 5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("state", [0, 1])
def test_everything_fresh_is_the_model_bit_for_bit(dtype, kv_heads, state) -> None:
    policy, layout = TinyPolicy(dtype=dtype, kv_heads=kv_heads), layout_of(state)
    sequence = sequence_of(policy, layout, 1)
    with torch.inference_mode():
        keys, values, hidden = reference(policy, layout, sequence)
        decoder = PartialDecoder(policy.decoder.model, layout, ())
        decoder.prefill(sequence_of(policy, layout, 2), TokenPlan.dense(VISUAL))  # a dirty cache
        every = TokenPlan.reuse(torch.arange(VISUAL), VISUAL, from_layer=3)
        for plan in (TokenPlan.dense(VISUAL), every):
            seen = decoder.prefill(sequence, plan)
            assert torch.equal(seen, hidden[:, layout.tail :])
            decoder.cache.keys.zero_(), decoder.cache.values.zero_()
            decoder.fill(sequence, plan)
            assert torch.equal(decoder.cache.keys[:, 0, :, : layout.prompt], keys)
            assert torch.equal(decoder.cache.values[:, 0, :, : layout.prompt], values)


@pytest.mark.parametrize("fresh", [[], [3], [0, 8], list(range(0, 9, 2))])
@pytest.mark.parametrize("from_layer", [0, 2, 3])
def test_unchanged_frame_with_any_reuse_is_dense(fresh, from_layer) -> None:
    policy, layout = TinyPolicy(scale=0.2), layout_of()
    sequence = sequence_of(policy, layout, 1)
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, layout, ())
        decoder.fill(sequence, TokenPlan.dense(VISUAL))
        keys = decoder.cache.keys.clone()
        chosen = torch.tensor(fresh, dtype=torch.int64)
        for _ in range(3):
            decoder.fill(sequence, TokenPlan.reuse(chosen, VISUAL, from_layer))
        assert torch.allclose(decoder.cache.keys, keys, atol=1e-5)


def test_a_still_picture_after_partial_steps_is_dense_after_as_many_rounds_as_layers() -> None:
    """Every token is brought up to date, one after the other, and yet each was computed beside
    stale ones. What a layer reads is right one round after the layer before; a pass over everything
    needs no second."""
    policy, layout = TinyPolicy(), layout_of()
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, layout, ())
        decoder.fill(sequence_of(policy, layout, 1), TokenPlan.dense(VISUAL))
        still = sequence_of(policy, layout, 2)
        rounds = []
        for _ in range(len(policy.decoder.model.layers)):
            for token in range(VISUAL):
                decoder.fill(still, TokenPlan.reuse(torch.tensor([token]), VISUAL))
            rounds.append(decoder.cache.keys.clone())
        decoder.fill(still, TokenPlan.dense(VISUAL))
        assert not torch.allclose(rounds[0][-1], decoder.cache.keys[-1], atol=1e-2)
        torch.testing.assert_close(rounds[-1], decoder.cache.keys, atol=1e-5, rtol=0.0)
        keys, _, _ = reference(policy, layout, still)
        assert torch.equal(decoder.cache.keys[:, 0, :, : layout.prompt], keys)


def test_text_and_bos_are_fresh_in_every_pass_and_state_reaches_no_picture() -> None:
    policy, layout = TinyPolicy(), layout_of()
    none = TokenPlan.reuse(torch.zeros(0, dtype=torch.int64), VISUAL)
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, layout, ())
        decoder.fill(sequence_of(policy, layout, 1), TokenPlan.dense(VISUAL))
        before = decoder.cache.keys.clone()
        other = sequence_of(policy, layout, 1)
        other[:, layout.tail :] += 1.0  # other words, another state
        decoder.fill(other, none)
        moved = (decoder.cache.keys != before).any(-1)[1:, 0].any(1)  # (layers - 1, n)
        assert moved[:, 0].all() and moved[:, layout.tail : layout.prompt].all()
        assert not moved[:, layout.visual_columns].any()
        # The state alone: nothing before it changes, even when everything is computed anew.
        decoder.fill(sequence_of(policy, layout, 1), TokenPlan.dense(VISUAL))
        before = decoder.cache.keys.clone()
        other = sequence_of(policy, layout, 1)
        other[:, -1] += 1.0
        decoder.fill(other, TokenPlan.dense(VISUAL))
        assert torch.equal(decoder.cache.keys[..., : layout.prompt - 1, :],
                           before[..., : layout.prompt - 1, :])
        assert not torch.equal(decoder.cache.keys, before)


def test_probed_text_rows_are_those_of_eager_attention() -> None:
    policy, layout = TinyPolicy(scale=0.2), layout_of()
    sequence = sequence_of(policy, layout, 1)
    with torch.inference_mode():
        decoder = PartialDecoder(policy.decoder.model, layout, (0, 2))
        decoder.fill(sequence, TokenPlan((Stage(0, torch.arange(VISUAL)),)))
        seen = decoder.attention(0)
        policy.decoder.config._attn_implementation = "eager"
        mask = layout.mask(CPU)[: layout.prompt, : layout.prompt]
        closed = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        maps = policy.decoder.model(
            inputs_embeds=sequence, attention_mask=closed[None, None], output_attentions=True
        ).attentions
    rows = slice(layout.tail, layout.tail + TEXT)
    expected = torch.stack([maps[layer][0].mean(0) for layer in (0, 2)])
    assert torch.allclose(seen.text, expected[:, rows, layout.visual_columns], atol=1e-6)
    assert seen.action.shape == (2, 0, VISUAL)
