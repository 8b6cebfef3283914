# SPDX-License-Identifier: Apache-2.0
"""Closed-loop success of the embedded policy, dense, with its controls."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.sim.rollout import EpisodeResult, rollout
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.sim.tasks import sample_task
from vla_infoentropy_ros.success_rates import wilson_interval

CONTROLS = ("none", "wrong_instruction", "stale")


@dataclass(frozen=True)
class Evaluation:
    """Episodes of one condition. ``control``: see :func:`evaluate`."""

    control: str
    first_seed: int
    episodes: tuple[EpisodeResult, ...]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Counts, rate and Wilson 95 % interval, ready for JSON."""
        wins = sum(episode.success for episode in self.episodes)
        low, high = wilson_interval(wins, len(self.episodes))
        summary: dict[str, Any] = {
            "control": self.control,
            "first_seed": self.first_seed,
            "episodes": len(self.episodes),
            "successes": wins,
            "rate": round(wins / len(self.episodes), 4),
            "wilson_95": [round(low, 4), round(high, 4)],
            "mean_steps": round(float(np.mean([e.steps for e in self.episodes])), 2),
            "failed_seeds": [e.seed for e in self.episodes if not e.success],
            "seconds": round(self.seconds, 1),
        }
        if self.control == "wrong_instruction":
            summary["reached_what_it_was_told"] = sum(e.told_success for e in self.episodes)
        if self.control != "none":
            del summary["failed_seeds"]  # failing is what a control is for
        return summary


def evaluate(
    weights: Path | None, first_seed: int, count: int, workers: int, control: str = "none"
) -> Evaluation:
    """Run ``count`` episodes from ``first_seed`` on with the policy in ``weights``.

    ``control``: "none" is the policy itself; "wrong_instruction" tells it another goal of the same
    scene and judges by the true one; "stale" shows it the first picture for ever.
    """
    if control not in CONTROLS:
        raise ValueError(f"control = {control!r}: must be one of {CONTROLS}")
    if count < 1 or workers < 1:
        raise ValueError(f"count = {count}, workers = {workers}: must both be >= 1")
    begun = time.monotonic()
    location = None if weights is None else str(weights)
    seeds = range(first_seed, first_seed + count)
    episodes: list[EpisodeResult] = []
    with tqdm(total=count, desc=f"evaluate ({control})", unit="episode", mininterval=5.0) as bar:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            shares = [seeds[start : start + 5] for start in range(0, count, 5)]
            for part in pool.map(_episodes, [(location, s, control) for s in shares]):
                episodes.extend(part)
                bar.update(len(part))
    return Evaluation(control, first_seed, tuple(episodes), time.monotonic() - begun)


@cache
def _policy(location: str | None) -> EmbeddedPolicy:
    """One load per worker process, and workers end with their evaluation."""
    return EmbeddedPolicy.load(location)


def _episodes(job: tuple[str | None, range, str]) -> list[EpisodeResult]:
    location, seeds, control = job
    torch.set_num_threads(1)
    policy = _policy(location)
    results = []
    with Tabletop() as env:
        for seed in seeds:
            first: list[np.ndarray] = []

            def act(image: np.ndarray, text: str, first: list[np.ndarray] = first) -> np.ndarray:
                if control == "stale":
                    first.append(image)
                    image = first[0]
                tokens = policy.act_batch(policy.preprocess([image]).image, [text])
                return policy.nearest_action(tokens[0].tolist()).values  # it may learn still

            told = None
            if control == "wrong_instruction":
                others = sample_task(seed)[0].other_instructions()
                told = others[seed % len(others)]
            results.append(rollout(env, act, seed, told))
    return results
