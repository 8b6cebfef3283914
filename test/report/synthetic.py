# SPDX-License-Identifier: Apache-2.0
"""Made-up runs with the shape of real ones, for tests of statistics and pictures."""

from __future__ import annotations

import numpy as np

from vla_infoentropy_ros.report.records import (
    STAGES,
    EpisodeRecord,
    RunRecord,
    ShownEpisode,
    ShownStep,
    StepRecord,
)
from vla_infoentropy_ros.selection import reasons as bits

TOKENS = 256
_LATENCY = {"dense": 38.0, "info_entropy": 36.0, "attention_drift": 24.0}


def step(selector: str, t: int, rng: np.random.Generator) -> StepRecord:
    """One plausible step of a selector."""
    reasons = np.zeros(TOKENS, dtype=np.uint8)
    alpha = k_visual = k_attention = float("nan")
    if t == 0 or selector == "dense":
        reasons[:] = bits.REFRESH
    elif selector == "info_entropy":
        alpha = t / 100
        k_visual, k_attention = float(int(60 - 20 * alpha)), float(int(40 + 20 * alpha))
        reasons[rng.permutation(TOKENS)[:70]] |= bits.STALE
        reasons[rng.permutation(TOKENS)[: int(k_visual)]] |= bits.IMAGE_ENTROPY
        reasons[rng.permutation(TOKENS)[: int(k_attention)]] |= bits.ATTENTION
    else:
        centre = np.array([6 + t / 6, 6])
        where = np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), -1)
        distance = np.linalg.norm(where - centre, axis=-1).ravel() + rng.normal(0, 1, TOKENS)
        reasons[np.argsort(distance)[:32]] = bits.STALE
    fresh = int((reasons != 0).sum())
    total = _LATENCY.get(selector, 30.0) * float(rng.lognormal(0, 0.08))
    share = dict(zip(STAGES, (0.03, 0.3, 0.07, 0.35, 0.25), strict=True))
    return StepRecord(
        t=t,
        latency_ms=total,
        stages_ms={name: total * part for name, part in share.items()},
        reasons=reasons,
        flops=4e9 * (0.4 + 0.6 * fresh / TOKENS),
        invalidated="first_frame" if t == 0 else "",
        alpha=alpha,
        k_visual=k_visual,
        k_attention=k_attention,
        fresh=fresh,
        reused=TOKENS - fresh,
        image_to_command_ms=total + 2,
    )


def episode(selector: str, seed: int, success: bool = True, steps: int = 20) -> EpisodeRecord:
    """An episode of ``steps`` steps."""
    rng = np.random.default_rng([seed, sum(map(ord, selector))])
    records = tuple(step(selector, t, rng) for t in range(steps))
    return EpisodeRecord(
        selector=selector,
        seed=seed,
        instruction="put the red cube on the blue plate",
        success=success,
        steps=steps,
        reason="success" if success else "step_limit",
        records=records,
        command_latency_ms=tuple(r.latency_ms + 4 for r in records),
    )


def picture(t: int, size: int = 224) -> np.ndarray:
    """(size, size, 3) uint8: a table with a moving disc."""
    y, x = np.mgrid[:size, :size]
    image = np.stack([120 + x // 4, 110 + y // 4, 100 + 0 * x], -1).astype(np.uint8)
    image[(x - 60 - 5 * t) ** 2 + (y - 90) ** 2 < 900] = (220, 40, 40)
    return image


def run(episodes: int = 20, selectors: tuple[str, ...] = ()) -> RunRecord:
    """A whole run; info_entropy loses seed 3, dense seed 5."""
    selectors = selectors or ("dense", "info_entropy", "attention_drift")
    seeds = tuple(range(1000, 1000 + episodes))
    lost = {("info_entropy", 1003), ("dense", 1005)}
    every = tuple(
        episode(s, seed, (s, seed) not in lost, 18 + seed % 5) for seed in seeds for s in selectors
    )
    shown = []
    for name in selectors:
        one = episode(name, seeds[0])
        steps = tuple(ShownStep(record, picture(record.t)) for record in one.records)
        shown.append(ShownEpisode(one, steps, (16, 16)))
    return RunRecord(
        middleware="rclpy",
        selectors=selectors,
        seeds=seeds,
        episodes=every,
        shown=tuple(shown),
        policy={"checkpoint": "embedded", "revision": "synthetic", "decode": "greedy"},
        hardware={"cpu": "Example CPU", "cores": 2, "memory_gib": 8.0},
        versions={"python": "3.11", "torch": "2.13"},
        settings={"info_entropy": {"k1": 40}, "attention_drift": {"fresh_tokens": 32}},
        duration_s=100.0,
    )
