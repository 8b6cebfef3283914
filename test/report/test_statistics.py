# SPDX-License-Identifier: Apache-2.0
"""Figures against values computed by hand or taken from tables."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from test.report import synthetic
from vla_infoentropy_ros.report.statistics import (
    paired,
    percentiles,
    speedup,
    summarise,
)
from vla_infoentropy_ros.report.verdict import headline, loses, table_rows, verdicts


def test_percentiles_ignore_what_was_not_measured() -> None:
    assert percentiles([1.0, 2.0, 3.0, float("nan")])["p50"] == 2.0
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


def test_paired_counts_only_common_seeds() -> None:
    ours = [synthetic.episode("x", 1), synthetic.episode("x", 2, False), synthetic.episode("x", 9)]
    base = [synthetic.episode("dense", 1, False), synthetic.episode("dense", 2)]
    found = paired(ours, base)
    assert (found["pairs"], found["won"], found["lost"], found["both"]) == (2, 1, 1, 0)


def test_speedup_is_a_ratio_of_medians() -> None:
    def fixed(selector: str, seed: int, latency: float) -> synthetic.EpisodeRecord:
        made = synthetic.episode(selector, seed)
        records = tuple(dataclasses.replace(r, latency_ms=latency) for r in made.records)
        return dataclasses.replace(made, records=records)

    base = [fixed("dense", seed, 30.0) for seed in range(4)]
    ours = [fixed("x", seed, 20.0) for seed in range(4)]
    assert speedup(ours, base) == (1.5, (1.5, 1.5))
    assert speedup(ours[:1], base[:1]) == (1.5, None)
    assert speedup([], base) == (None, None)


def test_summary_has_every_key_and_is_json() -> None:
    summary = summarise(synthetic.run())
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert {"middleware", "episodes", "seeds", "hardware", "versions"} <= set(summary)
    for name in ("dense", "info_entropy", "attention_drift"):
        figures = summary[name]
        assert {"success_rate", "success_ci95", "steps_mean", "recomputed_fraction",
                "flops_per_step"} <= set(figures)
        assert set(figures["latency_ms"]) == {"p50", "p95", "p99"}
        assert list(figures["stages_ms"]) == ["preprocess", "vision", "select", "prefill", "decode"]
        assert ("speedup_p50" in figures) == (name != "dense")
    assert summary["attention_drift"]["speedup_p50"] > 1.35
    assert summary["attention_drift"]["fresh_tokens_mean_after_first"] == 32
    assert summary["info_entropy"]["paired_with_dense"]["lost"] == 1
    assert summary["dense"]["failures"][0]["seed"] == 1005


def test_summary_of_nothing_measured_is_still_json() -> None:
    run = dataclasses.replace(synthetic.run(), episodes=())
    text = json.dumps(summarise(run), allow_nan=False)
    assert json.loads(text)["dense"]["latency_ms"]["p50"] is None


def test_verdicts_claim_no_more_than_the_sample_shows() -> None:
    summary = summarise(synthetic.run())
    told = verdicts(summary)
    assert set(told) == {"info_entropy", "attention_drift"}
    assert "times as fast as dense" in told["attention_drift"]
    assert "too few to tell from chance" in told["attention_drift"]
    assert headline(summary).startswith("attention_drift")
    header, rows = table_rows(summary)
    assert all(len(row) == len(header) for row in rows)


def test_a_fast_selector_that_loses_is_not_the_headline() -> None:
    run = synthetic.run()
    lost = tuple(
        dataclasses.replace(e, success=e.success and e.selector != "attention_drift")
        for e in run.episodes
    )
    summary = summarise(dataclasses.replace(run, episodes=lost))
    assert loses(summary["attention_drift"])
    assert "worse than chance explains" in verdicts(summary)["attention_drift"]
    assert headline(summary).startswith("info_entropy")


def test_equal_speed_is_called_equal() -> None:
    run = synthetic.run()
    rng = np.random.default_rng(1)
    same = tuple(
        dataclasses.replace(e, records=tuple(
            dataclasses.replace(r, latency_ms=30 + float(rng.normal())) for r in e.records))
        for e in run.episodes
    )
    told = verdicts(summarise(dataclasses.replace(run, episodes=same)))
    assert "No measurable difference in speed" in told["info_entropy"]
