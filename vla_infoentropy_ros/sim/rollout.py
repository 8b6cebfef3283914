# SPDX-License-Identifier: Apache-2.0
"""Closed-loop episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_infoentropy_ros.sim.tabletop import Tabletop

PolicyFn = Callable[[np.ndarray, str], np.ndarray]
"""(image (H, W, 3) uint8, instruction) -> action (7,), un-normalised."""


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended. ``steps`` counts control steps; ``told`` is what the policy heard."""

    success: bool
    steps: int
    seed: int
    instruction: str
    told: str
    told_success: bool


def rollout(
    env: Tabletop, policy: PolicyFn, seed: int, told: str | None = None
) -> EpisodeResult:
    """Run one episode until the task's goal (or the told one) is reached, or time is up.

    ``told`` replaces the instruction that the policy hears; success is still judged by the task's
    own, which makes the wrong-instruction control.
    """
    task = env.reset(seed)
    heard = task.instruction if told is None else told
    steps = 0
    done = told_done = False
    while steps < env.max_steps and not (done or told_done):
        env.step(policy(env.render(), heard))
        steps += 1
        done, told_done = env.success(), env.success(heard)
    return EpisodeResult(done, steps, seed, task.instruction, heard, told_done)
