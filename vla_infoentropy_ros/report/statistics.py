# SPDX-License-Identifier: Apache-2.0
"""Figures from records. Small samples get intervals, and selectors are compared on equal seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vla_infoentropy_ros.report.records import STAGES, EpisodeRecord, RunRecord
from vla_infoentropy_ros.success_rates import sign_test, wilson_interval

BASELINE = "dense"
_RESAMPLES = 2000


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50, p95 and p99 by linear interpolation; None each where there are no values."""
    data = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    if data.size == 0:
        return {"p50": None, "p95": None, "p99": None}
    found = np.percentile(data, (50, 95, 99))
    return {name: round(float(p), 4) for name, p in zip(("p50", "p95", "p99"), found, strict=True)}


def paired(ours: Sequence[EpisodeRecord], base: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Outcomes on the seeds that both ran: won means that only ours succeeded."""
    other = {episode.seed: episode.success for episode in base}
    pairs = [(e.success, other[e.seed]) for e in ours if e.seed in other]
    won = sum(a and not b for a, b in pairs)
    lost = sum(b and not a for a, b in pairs)
    return {
        "pairs": len(pairs),
        "both": sum(a and b for a, b in pairs),
        "neither": sum(not a and not b for a, b in pairs),
        "won": won,
        "lost": lost,
        "p_value": round(sign_test(won, lost), 4),
    }


def latencies(episodes: Iterable[EpisodeRecord]) -> list[float]:
    """Latency of every step, milliseconds; the first, never reusing, step of each included."""
    return [record.latency_ms for episode in episodes for record in episode.records]


def speedup(
    ours: Sequence[EpisodeRecord], base: Sequence[EpisodeRecord]
) -> tuple[float | None, tuple[float, float] | None]:
    """Ratio of median step latencies, base over ours, and its 95 % bootstrap interval.

    Whole episodes are drawn, seed by seed for both sides at once: steps of one episode share the
    machine's mood, so that drawing single steps would make the interval too narrow.
    """
    left = {episode.seed: latencies([episode]) for episode in base if episode.records}
    right = {episode.seed: latencies([episode]) for episode in ours if episode.records}
    if not left or not right:
        return None, None
    ratio = float(np.median(np.concatenate([*left.values()]))) / float(
        np.median(np.concatenate([*right.values()]))
    )
    seeds = sorted(set(left) & set(right))
    if len(seeds) < 3:
        return round(ratio, 4), None
    draw = np.random.default_rng(0).integers(0, len(seeds), size=(_RESAMPLES, len(seeds)))
    ratios = [
        float(np.median(np.concatenate([left[seeds[i]] for i in row])))
        / float(np.median(np.concatenate([right[seeds[i]] for i in row])))
        for row in draw
    ]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return round(ratio, 4), (round(float(low), 4), round(float(high), 4))


def summarise_selector(episodes: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """The figures of one selector; fractions in [0, 1], times in milliseconds."""
    records = [record for episode in episodes for record in episode.records]
    later = [record for record in records if record.t > 0]
    successes = sum(episode.success for episode in episodes)
    low, high = wilson_interval(successes, len(episodes))
    return {
        "episodes": len(episodes),
        "successes": successes,
        "success_rate": round(successes / len(episodes), 4) if episodes else None,
        "success_ci95": [round(low, 4), round(high, 4)],
        "steps_mean": _mean(float(episode.steps) for episode in episodes),
        "latency_ms": percentiles(latencies(episodes)),
        "stages_ms": {
            stage: percentiles(r.stages_ms.get(stage, math.nan) for r in records)["p50"]
            for stage in STAGES
        },
        "recomputed_fraction": _mean(r.fresh / r.tokens for r in records if r.tokens),
        "fresh_tokens_mean_after_first": _mean(float(r.fresh) for r in later),
        "flops_per_step": _mean(r.flops for r in records),
        "decoder_passes_mean": _mean(r.decoder_passes for r in records),
        "image_to_command_ms": percentiles(r.image_to_command_ms for r in records),
        "command_latency_ms": percentiles(
            value for episode in episodes for value in episode.command_latency_ms
        ),
        "invalidated_steps": _counts(r.invalidated for r in records),
        "failures": [
            {"seed": e.seed, "instruction": e.instruction, "reason": e.reason}
            for e in episodes
            if not e.success
        ],
    }


def summarise(run: RunRecord) -> dict[str, Any]:
    """The content of ``summary.json``."""
    base = run.of(BASELINE)
    summary: dict[str, Any] = {
        "middleware": run.middleware,
        "episodes": len(run.seeds),
        "seeds": list(run.seeds),
        "selectors": list(run.selectors),
        "duration_s": round(run.duration_s, 1) if math.isfinite(run.duration_s) else None,
        "policy": dict(run.policy),
        "settings": {name: dict(values) for name, values in run.settings.items()},
        "hardware": dict(run.hardware),
        "versions": dict(run.versions),
        "definitions": _DEFINITIONS,
        "notes": list(run.notes),
    }
    for selector in run.selectors:
        ours = run.of(selector)
        figures = summarise_selector(ours)
        if base and selector != BASELINE:
            figures["speedup_p50"], interval = speedup(ours, base)
            figures["speedup_p50_ci95"] = None if interval is None else list(interval)
            figures["paired_with_dense"] = paired(ours, base)
        summary[selector] = figures
    return summary


_DEFINITIONS: Mapping[str, str] = {
    "success_ci95": "Wilson interval",
    "latency_ms": "whole policy step (image in, action out) on the policy node's monotonic clock, "
    "every step of every episode, the first included",
    "stages_ms": "median of each stage; medians need not add up to the median of the whole",
    "recomputed_fraction": "visual tokens recomputed / all visual tokens, mean over all steps",
    "flops_per_step": "2 x multiply-accumulates of vision tower and language model, closed form",
    "speedup_p50": "p50 latency of dense / p50 latency of this selector",
    "speedup_p50_ci95": "bootstrap over seeds, dense and this selector drawn together",
    "paired_with_dense": "outcomes on equal seeds; p_value: exact two-sided sign test",
    "image_to_command_ms": "arrival of the image at the policy node to its command: the step, "
    "waiting and message conversion",
    "command_latency_ms": "camera image published to its command received, in the simulator: the "
    "step, and the graph both ways",
}


def _mean(values: Iterable[float]) -> float | None:
    data = [value for value in values if math.isfinite(value)]
    return round(float(np.mean(data)), 4) if data else None


def _counts(values: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        if value:
            found[value] = found.get(value, 0) + 1
    return found
