# SPDX-License-Identifier: Apache-2.0
"""What turns a prompt into an action: the joint between the engine and a family's way to act, and
the head of families that act by tokens. That of flow policies is in `flow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from vla_infoentropy_ros.engine.cost import Cost, run_cost
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.stopwatch import Stopwatch


@dataclass(frozen=True)
class Turn:
    """One step as a head sees it. t: steps of the episode before it. draft: (A - 1,) int64, action
    tokens to verify, or None. state: (S,) float32, the robot's, normalised, or None. watch: laps
    "prefill" and "decode" are the head's. euler_steps: of a flow, 0 for the policy's own. bins: by
    how many the tokens of a draft may be off and still be taken."""

    t: int
    draft: torch.Tensor | None
    state: torch.Tensor | None
    watch: Stopwatch
    euler_steps: int = 0
    bins: int = 0


class Decision(Protocol):
    """What a head decided. passes: forward passes over the sequence or a part of it."""

    @property
    def passes(self) -> int: ...

    def numbers(self) -> torch.Tensor:
        """(n,) what `PolicyAdapter.decode_action` takes, still on the device."""
        ...

    def finite(self) -> torch.Tensor:
        """Whether NaN or infinity went into it; scalar bool."""
        ...

    def evidence(self) -> torch.Tensor:
        """The numbers that the action is read from, float32: what any change of the input moves."""
        ...

    def entropy(self) -> torch.Tensor:
        """How unsure the head is, scalar, nats; 0 where it cannot tell."""
        ...

    def next_draft(self) -> torch.Tensor | None:
        """What the next step may verify, or None."""
        ...


class ActionHead(Protocol):
    """How a policy acts on a prompt. ``reads_output``: whether it needs the prompt's hidden states
    after the last layer, or keys and values alone. ``horizon``: actions that it decides at once."""

    reads_output: bool

    @property
    def horizon(self) -> int: ...

    def layout(self, visual: int, text: int) -> Layout:
        """Of a sequence with so many visual and text tokens."""
        ...

    def action_rows_read(self, layout: Layout) -> int:
        """Action rows whose attention a probe may read after a step."""
        ...

    def act(
        self, decoder: PartialDecoder, prompt: torch.Tensor, plan: TokenPlan, turn: Turn
    ) -> Decision:
        """prompt: (S, d), embeddings of all rows up to the text's end, of which ``plan`` says
        which to compute."""
        ...

    def cost(self, decoder: PartialDecoder, plan: TokenPlan, decision: Any) -> Cost:
        """Of the step just run, without vision and probe."""
        ...


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

    def numbers(self) -> torch.Tensor:
        return self.tokens

    def finite(self) -> torch.Tensor:
        return torch.isfinite(self.logits).all()

    def evidence(self) -> torch.Tensor:
        """Logits of the first token (vocabulary,): they depend on no other token."""
        return self.logits[0].float()

    def next_draft(self) -> torch.Tensor:
        """All tokens but the last, which no other is predicted from."""
        return self.tokens[:-1].clone()


class TokenHead:
    """Actions as tokens at the end of the language model's vocabulary (OpenVLA)."""

    reads_output = True
    horizon = 1

    def __init__(self, lm_head: nn.Module, action_tokens: int) -> None:
        self.lm_head, self.action_tokens = lm_head, action_tokens

    def layout(self, visual: int, text: int) -> Layout:
        return Layout(visual, text, self.action_tokens)

    def action_rows_read(self, layout: Layout) -> int:
        return layout.action - 1  # the last action token is not fed back

    def act(
        self, decoder: PartialDecoder, prompt: torch.Tensor, plan: TokenPlan, turn: Turn
    ) -> Decoded:
        draft = turn.draft
        if draft is not None:
            prompt = torch.cat((prompt, decoder.model.embed_tokens(draft)))
        hidden = decoder.prefill(prompt[None], plan)
        turn.watch.lap("prefill")
        decoded = (
            greedy(decoder, self.lm_head, hidden) if draft is None
            else window(decoder, self.lm_head, hidden, draft, turn.bins)
        )
        turn.watch.lap("decode")
        return decoded

    def cost(self, decoder: PartialDecoder, plan: TokenPlan, decision: Decoded) -> Cost:
        return run_cost(decoder, plan, decision.passes, decision.drafts)


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
    decoder: PartialDecoder, lm_head: nn.Module, hidden: torch.Tensor, draft: torch.Tensor,
    bins: int = 0,
) -> Decoded:
    """Greedy's tokens by verifying a draft: a warm Jacobi iteration over all of them at once.

    hidden: (1, T + A - 1, d) from a prefill that carried ``draft`` (A - 1,) behind the text.
    Row i of the action rows predicts token i + 1 from tokens 1..i, so the arg max of all rows is
    a new guess, right up to and including the first place where it differs from the old one.
    The fixed point is the greedy sequence, reached after at most A - 1 further passes: in exact
    arithmetic, and in float32 in every case tried. In bfloat16 rows computed together round
    differently from rows computed one by one, and two tokens within that may change places.

    With ``bins`` it ends as soon as no token differs by more, and its tokens are those that follow
    on such a guess: nearly greedy's. The last, the gripper's, is never taken from a guess.
    """
    layout = decoder.layout
    logits = lm_head(hidden[:, layout.text - 1 :])[0]
    tokens, guess, passes = logits.argmax(-1), draft, 1
    while bool(_off(tokens[:-1], guess, bins).any()):  # the one place where a pass waits
        guess = tokens[:-1]
        rows = decoder.extend(decoder.model.embed_tokens(guess[None]), layout.prompt)
        logits = torch.cat((logits[:1], lm_head(rows)[0]))
        tokens = logits.argmax(-1)
        passes += 1
    return Decoded(tokens, logits, passes, drafts=draft.shape[0])


def _off(tokens: torch.Tensor, guess: torch.Tensor, bins: int) -> torch.Tensor:
    # Equality is one launch instead of three, and a pass waits for nothing else.
    return (tokens - guess).abs() > bins if bins else tokens != guess
