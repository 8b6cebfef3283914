# SPDX-License-Identifier: Apache-2.0
"""From hidden states to action tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder


@dataclass(frozen=True)
class Decoded:
    """tokens: (A,) int64 action token ids. logits: (A, vocabulary), from which they were taken.
    passes: forward passes of the language model, the prefill included. drafts: draft tokens
    that the prefill carried."""

    tokens: torch.Tensor
    logits: torch.Tensor
    passes: int
    drafts: int = 0

    def entropy(self) -> torch.Tensor:
        """Mean entropy of the action tokens' distributions, scalar, nats."""
        log_p = self.logits.float().log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1).mean()


def greedy(decoder: PartialDecoder, lm_head: nn.Module, prompt_hidden: torch.Tensor) -> Decoded:
    """A tokens by arg max, one pass each. prompt_hidden: (1, T, d), rows of the text tokens."""
    layout = decoder.layout
    logits = [lm_head(prompt_hidden[:, -1:])]
    for position in range(layout.prompt, layout.total - 1):
        embedding = decoder.model.embed_tokens(logits[-1].argmax(-1))
        logits.append(lm_head(decoder.extend(embedding, position)))
    every = torch.cat(logits, dim=1)[0]
    return Decoded(every.argmax(-1), every, passes=layout.action)


def window(
    decoder: PartialDecoder, lm_head: nn.Module, hidden: torch.Tensor, draft: torch.Tensor
) -> Decoded:
    """Greedy's tokens by verifying a draft: a warm Jacobi iteration over all of them at once.

    hidden: (1, T + A - 1, d) from a prefill that carried ``draft`` (A - 1,) behind the text.
    Row i of the action rows predicts token i + 1 from tokens 1..i, so the arg max of all rows is
    a new guess, right up to and including the first place where it differs from the old one.
    The fixed point is the greedy sequence, reached after at most A - 1 further passes: in exact
    arithmetic, and in float32 in every case tried. In bfloat16 rows computed together round
    differently from rows computed one by one, and two tokens within that may change places.
    """
    layout = decoder.layout
    logits = lm_head(hidden[:, layout.text - 1 :])[0]
    tokens, guess, passes = logits.argmax(-1), draft, 1
    while bool((tokens[:-1] != guess).any()):  # the one place where a pass waits for its result
        guess = tokens[:-1]
        rows = decoder.extend(decoder.model.embed_tokens(guess[None]), layout.prompt)
        logits = torch.cat((logits[:1], lm_head(rows)[0]))
        tokens = logits.argmax(-1)
        passes += 1
    return Decoded(tokens, logits, passes, drafts=draft.shape[0])
