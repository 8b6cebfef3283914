# SPDX-License-Identifier: Apache-2.0
"""The head of flow policies: a chunk of actions from noise, by Euler steps over the prefix's keys
and values (flow matching: Lipman et al., arXiv 2210.02747; for robots: pi0, arXiv 2410.24164)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from vla_infoentropy_ros.engine.cost import Cost, fill_cost
from vla_infoentropy_ros.engine.flops import measure_flops
from vla_infoentropy_ros.engine.heads import Turn
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import PlanError, TokenPlan


class FlowExpert(Protocol):
    """The network that says where a noisy chunk should move; one implementation per family.

    horizon: H, actions in a chunk. action_size: a, numbers in an action, padding included. attends:
    each of its layers attends to the prefix's keys as they are, so that a probe can read it.
    """

    horizon: int
    action_size: int
    attends: bool

    def layout(self, visual: int, text: int) -> Layout:
        """Of a sequence with so many visual and text tokens; its action rows are the expert's."""
        ...

    def state_rows(self, state: torch.Tensor | None) -> torch.Tensor | None:
        """Embeddings (layout.state, d) of the rows behind the text; state: (S,) as in `Turn`. None
        where the layout has no such rows."""
        ...

    def begin(self, decoder: PartialDecoder, state: torch.Tensor | None) -> None:
        """A prefix was computed anew; state: as above. Called before the first velocity of a
        step, for what all of them share."""
        ...

    def velocity(
        self, decoder: PartialDecoder, chunk: torch.Tensor, time: float
    ) -> torch.Tensor:
        """chunk (1, H, a) float32 at flow time ``time``, 1 = noise, 0 = actions, to its velocity
        of the same shape and type."""
        ...


@dataclass(frozen=True)
class Flowed:
    """chunk: (H, a) float32, normalised actions, the first for now. passes: the prefix and every
    Euler step."""

    chunk: torch.Tensor
    passes: int

    def numbers(self) -> torch.Tensor:
        return self.chunk.flatten()

    def finite(self) -> torch.Tensor:
        return torch.isfinite(self.chunk).all()

    def evidence(self) -> torch.Tensor:
        return self.chunk

    def entropy(self) -> torch.Tensor:
        return torch.zeros((), device=self.chunk.device)

    def next_draft(self) -> None:
        return None


class FlowHead:
    """Integrates an expert's velocity from noise to a chunk in ``steps`` Euler steps.

    The noise of a step depends on ``seed`` and its number in the episode alone, so that a run can
    be repeated and a reused prefix be compared with a fresh one.
    """

    reads_output = False

    def __init__(self, expert: FlowExpert, steps: int, seed: int = 0) -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}: a flow needs at least one Euler step")
        self.expert, self.steps, self.seed = expert, steps, seed
        self._flops: dict[Layout, tuple[int, int]] = {}  # of a beginning, and of a velocity

    @property
    def horizon(self) -> int:
        return self.expert.horizon

    def layout(self, visual: int, text: int) -> Layout:
        return self.expert.layout(visual, text)

    def action_rows_read(self, layout: Layout) -> int:
        return layout.action if self.expert.attends else 0

    def act(
        self, decoder: PartialDecoder, prompt: torch.Tensor, plan: TokenPlan, turn: Turn
    ) -> Flowed:
        if plan.pruning is not None:
            raise PlanError("a flow policy's expert reads every visual token: none can be pruned")
        behind = self.expert.state_rows(turn.state)
        if behind is not None:
            prompt = torch.cat((prompt, behind))
        decoder.fill(prompt[None], plan)
        turn.watch.lap("prefill")
        noise = self.noise(turn.t).to(prompt.device)
        if decoder.layout not in self._flops:  # no closed form: experts differ
            self._flops[decoder.layout] = (
                measure_flops(lambda: self.expert.begin(decoder, turn.state)),
                measure_flops(lambda: self.expert.velocity(decoder, noise, 1.0)),
            )
        self.expert.begin(decoder, turn.state)
        steps = turn.euler_steps or self.steps
        chunk = integrate(self.expert, decoder, noise, steps)
        turn.watch.lap("decode")
        return Flowed(chunk[0], passes=1 + steps)

    def noise(self, t: int) -> torch.Tensor:
        """(1, H, a) float32, that of step ``t`` of an episode."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + t)
        return torch.randn(1, self.expert.horizon, self.expert.action_size, generator=generator)

    def cost(self, decoder: PartialDecoder, plan: TokenPlan, decision: Flowed) -> Cost:
        filled = fill_cost(decoder, plan)
        beginning, velocity = self._flops[decoder.layout]
        expert = beginning + (decision.passes - 1) * velocity
        return Cost(decision.passes, filled.flops + expert, filled.macs)


def integrate(
    expert: FlowExpert, decoder: PartialDecoder, noise: torch.Tensor, steps: int,
    begins: float = 1.0,
) -> torch.Tensor:
    """What there is (1, H, a) at flow time ``begins``, at 1 noise, to a chunk at time 0, in
    ``steps`` equal Euler steps."""
    chunk, delta = noise, -begins / steps
    for step in range(steps):
        chunk = chunk + delta * expert.velocity(decoder, chunk, begins + step * delta)
    return chunk
