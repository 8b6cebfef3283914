# SPDX-License-Identifier: Apache-2.0
"""The figures in plain words, no stronger than the sample allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vla_infoentropy_ros.report.statistics import BASELINE

_SIGNIFICANT = 0.05


def verdicts(summary: Mapping[str, Any]) -> dict[str, str]:
    """One or two sentences per selector that can be compared with dense."""
    base = summary.get(BASELINE)
    if not base:
        return {}
    return {
        name: f"{_speed(summary[name], base)} {_success(summary[name], base)}"
        for name in summary["selectors"]
        if name != BASELINE
    }


def headline(summary: Mapping[str, Any]) -> str:
    """The one sentence to read first."""
    base = summary.get(BASELINE)
    fastest = [
        (summary[name]["speedup_p50"], name)
        for name in summary["selectors"]
        if name != BASELINE and base and summary[name].get("speedup_p50")
    ]
    if not base or not fastest:
        return "No comparison: dense and an accelerated selector are both needed for one."
    # The fastest that costs no success; the fastest of all only if every one does.
    safe = [item for item in fastest if not loses(summary[item[1]])]
    ratio, name = max(safe or fastest)
    ours = summary[name]
    text = (
        f"{name} takes {_ms(ours)} from image to action where dense takes {_ms(base)} "
        f"({ratio:.2f}×), recomputing {ours['recomputed_fraction'] or 0:.0%} of the visual tokens; "
        f"it succeeds in {ours['successes']} of {ours['episodes']} episodes, dense in "
        f"{base['successes']} of {base['episodes']}."
    )
    return text


def loses(figures: Mapping[str, Any]) -> bool:
    """Whether the paired seeds show fewer successes than dense beyond chance."""
    pair = figures.get("paired_with_dense", {})
    return bool(pair and pair["lost"] > pair["won"] and pair["p_value"] < _SIGNIFICANT)


def table_rows(summary: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows of the comparison, as text: for the terminal and for the page."""
    header = ("selector", "success", "95 % interval", "steps", "p50 ms", "p95 ms", "p99 ms",
              "speed-up", "tokens", "GFLOP/step")
    rows = []
    for name in summary["selectors"]:
        f = summary[name]
        low, high = f["success_ci95"]
        latency, flops = f["latency_ms"], f["flops_per_step"]
        rows.append([
            name,
            f"{f['successes']}/{f['episodes']}",
            f"{low:.0%}–{high:.0%}",
            _number(f["steps_mean"], 1),
            _number(latency["p50"], 1),
            _number(latency["p95"], 1),
            _number(latency["p99"], 1),
            f"{f['speedup_p50']:.2f}×" if f.get("speedup_p50") else "",
            "" if f["recomputed_fraction"] is None else f"{f['recomputed_fraction']:.0%}",
            "" if flops is None else f"{flops / 1e9:.2f}",
        ])
    return header, rows


def _speed(ours: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    ratio, interval = ours.get("speedup_p50"), ours.get("speedup_p50_ci95")
    if ratio is None:
        return "No latency was measured."
    told = f"p50 {_ms(base)} → {_ms(ours)}"
    bounds = (
        "; too few episodes for an interval" if interval is None
        else f", 95 % interval {interval[0]:.2f}–{interval[1]:.2f}"
    )
    if interval is not None and interval[0] <= 1.0 <= interval[1]:
        return f"No measurable difference in speed ({told}, {ratio:.2f}×{bounds})."
    if ratio > 1.0:
        return f"{ratio:.2f} times as fast as dense, end to end ({told}{bounds})."
    return f"Slower than dense: {ratio:.2f}× ({told}{bounds}); choosing costs more than it saves."


def _success(ours: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    pair = ours["paired_with_dense"]
    text = (f"Success {ours['successes']}/{ours['episodes']} against "
            f"{base['successes']}/{base['episodes']}; on equal seeds {pair['won']} won, "
            f"{pair['lost']} lost")
    if pair["won"] == pair["lost"]:
        return f"{text}: no difference seen."
    if pair["p_value"] < _SIGNIFICANT:
        better = "better" if pair["won"] > pair["lost"] else "worse"
        return f"{text}: {better} than chance explains (p = {pair['p_value']:.3f})."
    return f"{text}: too few to tell from chance (p = {pair['p_value']:.2f})."


def _ms(figures: Mapping[str, Any]) -> str:
    value = figures["latency_ms"]["p50"]
    return "?" if value is None else f"{value:.1f} ms"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
