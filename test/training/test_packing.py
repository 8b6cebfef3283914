# SPDX-License-Identifier: Apache-2.0
"""Packed suffixes must give what plain sequences give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from test.models.test_embedded import TEXT, picture, tiny_config
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.training.packing import block_mask, foreground, packed_forward


@pytest.fixture
def policy() -> EmbeddedPolicy:
    torch.manual_seed(1)
    return EmbeddedPolicy(tiny_config())


def _suffixes(policy: EmbeddedPolicy, count: int) -> torch.Tensor:
    prompt = policy.tokenize(TEXT).token_ids
    actions = torch.randint(20, policy.tokenizer.vocab_size, (count, 6))
    return torch.cat([prompt.expand(count, -1), actions], dim=1)[None]


def _plain(policy: EmbeddedPolicy, pixels: torch.Tensor, suffix: torch.Tensor) -> torch.Tensor:
    embed = policy.decoder.get_input_embeddings()
    sequence = torch.cat([
        embed(torch.tensor([policy.bos_token_id])), policy.embed_vision(pixels), embed(suffix)
    ])[None]
    return policy.decoder.model(inputs_embeds=sequence).last_hidden_state[0, -len(suffix):]


@torch.no_grad()
def test_each_suffix_equals_its_own_sequence(policy: EmbeddedPolicy) -> None:
    pixels = policy.preprocess([picture()]).pixels
    suffixes = _suffixes(policy, 3)
    packed = packed_forward(policy, pixels, suffixes, (3, 7), None)
    for index in range(3):
        expected = _plain(policy, pixels, suffixes[0, index])
        torch.testing.assert_close(packed.hidden[0, index], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_keeping_every_token_is_keeping_all(policy: EmbeddedPolicy) -> None:
    pixels = policy.preprocess([picture()]).pixels
    suffixes = _suffixes(policy, 2)
    everything = torch.arange(16)[None]
    torch.testing.assert_close(
        packed_forward(policy, pixels, suffixes, (3, 7), everything).hidden,
        packed_forward(policy, pixels, suffixes, (3, 7), None).hidden,
    )


@torch.no_grad()
def test_noun_attention_is_the_models_own(policy: EmbeddedPolicy) -> None:
    """Against eager attention of layer 1, renormalised over the prefix."""
    pixels = policy.preprocess([picture()]).pixels
    suffixes = _suffixes(policy, 1)
    packed = packed_forward(policy, pixels, suffixes, (3, 7), None)
    embed = policy.decoder.get_input_embeddings()
    sequence = torch.cat([
        embed(torch.tensor([policy.bos_token_id])), policy.embed_vision(pixels),
        embed(suffixes[0, 0]),
    ])[None]
    policy.decoder.set_attn_implementation("eager")
    maps = policy.decoder.model(inputs_embeds=sequence, output_attentions=True).attentions[1][0]
    for slot, noun in enumerate((3, 7)):
        row = maps[:, 17 + noun, :17]
        expected = (row / row.sum(-1, keepdim=True))[:1, 1:].mean(0)
        torch.testing.assert_close(packed.attention[0, 0, slot], expected, rtol=0, atol=1e-5)


def test_mask_by_hand() -> None:
    mask = block_mask(2, 2, 2)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_foreground_finds_what_is_not_table() -> None:
    image = np.full((1, 56, 56, 3), 120, np.uint8)
    image[0, 14:28, 28:42] = 250
    image[0, 42:56, 0:14] = 10
    kept = foreground(torch.from_numpy(image), 5, 14)[0].tolist()
    assert {6, 12} <= set(kept)
    assert kept == sorted(kept) and len(set(kept)) == 5
