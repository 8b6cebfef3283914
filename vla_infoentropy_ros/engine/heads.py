# SPDX-License-Identifier: Apache-2.0
"""From hidden states to action tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder


@dataclass(frozen=True)
class Decoded:
    """tokens: (A,) int64 action token ids. passes: forward passes of the language model, the
    prefill included."""

    tokens: torch.Tensor
    passes: int


def greedy(decoder: PartialDecoder, prompt_hidden: torch.Tensor) -> Decoded:
    """A tokens by arg max, one pass each. prompt_hidden: (1, T, d), rows of the text tokens."""
    model, layout = decoder.model, decoder.layout
    tokens = [model.lm_head(prompt_hidden[:, -1:]).argmax(-1)]
    for index in range(layout.action - 1):
        embedding = model.model.embed_tokens(tokens[-1])
        hidden = decoder.extend(embedding, layout.prompt + index)
        tokens.append(model.lm_head(hidden).argmax(-1))
    return Decoded(torch.cat(tokens, dim=1)[0], passes=layout.action)


def window(decoder: PartialDecoder, hidden: torch.Tensor, draft: torch.Tensor) -> Decoded:
    """The same tokens by verifying a draft: a warm Jacobi iteration over all of them at once.

    hidden: (1, T + A - 1, d) from a prefill that carried ``draft`` (A - 1,) behind the text.
    Row i of the action rows predicts token i + 1 from tokens 1..i, so the arg max of all rows is
    a new guess, right up to and including the first place where it differs from the old one.
    The fixed point is the greedy sequence, reached after at most A - 1 further passes.
    """
    model, layout = decoder.model, decoder.layout
    rows = hidden[:, layout.text - 1 :]
    first = model.lm_head(rows[:, :1]).argmax(-1)
    guess, rest = draft[None], model.lm_head(rows[:, 1:]).argmax(-1)
    passes = 1
    while True:
        refreshed = torch.cat((first, rest), dim=1)
        if torch.equal(refreshed[:, :-1], guess):
            return Decoded(refreshed[0], passes)
        guess = refreshed[:, :-1]
        rows = decoder.extend(model.model.embed_tokens(guess), layout.prompt)
        rest = model.lm_head(rows).argmax(-1)
        passes += 1
