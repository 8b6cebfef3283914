# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG text: sharp at every size, a few kilobytes, no plotting library.

Colours that depend on the theme are CSS variables (--ink, --quiet, --line) of the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.report.palette import (
    CATEGORIES,
    REUSED_INDEX,
    category_counts,
    selector_colour,
)
from vla_infoentropy_ros.report.records import STAGES, EpisodeRecord, StepRecord

STAGE_COLOURS = {
    "preprocess": "#94a3b8",
    "vision": "#38a3d8",
    "select": "#e4577a",
    "prefill": "#7c6ee6",
    "decode": "#3fae73",
}
_SCHEDULE_COLOURS = {"k_visual": "#92400e", "k_attention": "#1e3a8a"}
_BUDGETS = {"k_visual": "budget, image entropy", "k_attention": "budget, attention"}


def latency_curves(series: Mapping[str, Sequence[float]]) -> str:
    """Share of steps (y) that took at most so many milliseconds (x), one curve per selector.

    The axis ends at the 99.5 % quantile of all, and at three times the largest median: hiccups of
    a busy machine must not squeeze the rest. How many steps lie beyond is said.
    """
    data = {name: np.sort(np.asarray(v, dtype=float)) for name, v in series.items() if len(v)}
    if not data:
        return _empty("no steps were measured")
    rows = _legend_rows({n: f"{n} {float(np.median(v)):.1f}" for n, v in data.items()}, 500)
    width, height, left, bottom, top = 500, 282 + 20 * len(rows), 48, 44, 18 + 20 * len(rows)
    every = np.concatenate(list(data.values()))
    end = min(float(np.quantile(every, 0.995)), 3 * max(float(np.median(v)) for v in data.values()))
    low, high, ticks = _axis(float(every.min()) * 0.92, end * 1.04)
    beyond = int((every > high).sum())

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - 16)

    def y(share: float) -> float:
        return top + (1 - share) * (height - top - bottom)

    parts = [_open(width, height, "Distribution of step latency per selector")]
    for tick in ticks:
        parts.append(_line(x(tick), top, x(tick), height - bottom, "var(--line)"))
        parts.append(_text(x(tick), height - bottom + 18, f"{tick:g}", "middle"))
    for share in (0.0, 0.25, 0.5, 0.75, 0.95):
        parts.append(_line(left, y(share), width - 16, y(share), "var(--line)"))
        parts.append(_text(left - 8, y(share) + 4, f"{share:.0%}", "end"))
    label = "step latency, ms (dots: median)"
    if beyond:
        label += f"; {beyond} of {every.size} steps beyond"
    parts.append(_text((left + width) / 2, height - 6, label, "middle"))
    at = 10.0
    for name, values in data.items():
        colour = selector_colour(name)
        shares = np.arange(1, values.size + 1) / values.size
        inside = int((values <= high).sum())
        keep = np.unique(np.linspace(0, max(inside - 1, 0), min(values.size, 300)).astype(int))
        path = "M" + "L".join(f"{x(values[i]):.1f} {y(shares[i]):.1f}" for i in keep)
        median = float(np.median(values))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<circle cx="{x(median):.1f}" cy="{y(0.5):.1f}" r="5" fill="{colour}">'
                     f"<title>{escape(name)}: p50 {median:.1f} ms</title></circle>")
    for number, row in enumerate(rows):
        for at, name, told in row:
            parts.append(f'<rect x="{at:.0f}" y="{6 + 20 * number}" width="12" height="12" rx="2" '
                         f'fill="{selector_colour(name)}"/>')
            parts.append(_text(at + 17, 16 + 20 * number, told, "start", ink=True))
    return "".join(parts) + "</svg>"


def stage_bars(stages: Mapping[str, Mapping[str, float | None]]) -> str:
    """Median milliseconds of each stage, stacked, one bar per selector."""
    rows = {n: [float(v.get(s) or 0.0) for s in STAGES] for n, v in stages.items()}
    longest = max((sum(values) for values in rows.values()), default=0.0)
    if longest <= 0:
        return _empty("no stage times were reported")
    width, left, pitch, top = 500, _name_width(rows), 52, 38
    height = max(top + pitch * len(rows) + 34, 240)
    _, high, ticks = _axis(0.0, longest * 1.02)
    scale = (width - left - 44) / high
    parts = [_open(width, height, "Time per stage")]
    at = 10.0
    for stage in STAGES:
        parts.append(f'<rect x="{at:.0f}" y="6" width="12" height="12" rx="2" '
                     f'fill="{STAGE_COLOURS[stage]}"/>')
        parts.append(_text(at + 17, 16, stage, "start", ink=True))
        at += 34 + 7.2 * len(stage)
    for tick in ticks:
        where = left + tick * scale
        parts.append(_line(where, top, where, height - 30, "var(--line)"))
        parts.append(_text(where, height - 14, f"{tick:g} ms", "middle"))
    for row, (name, values) in enumerate(rows.items()):
        y, at = top + row * pitch + 8, float(left)
        parts.append(_text(left - 10, y + 20, name, "end", ink=True))
        for stage, value in zip(STAGES, values, strict=True):
            size = value * scale
            parts.append(f'<rect x="{at:.1f}" y="{y}" width="{max(size, 0.5):.1f}" height="30" '
                         f'fill="{STAGE_COLOURS[stage]}"><title>{escape(name)}, {stage}: '
                         f"{value:.2f} ms</title></rect>")
            if size > 30:
                parts.append(f'<text x="{at + size / 2:.1f}" y="{y + 20}" text-anchor="middle" '
                             f'class="on">{value:.1f}</text>')
            at += size
        parts.append(_text(at + 8, y + 20, f"{sum(values):.1f}", "start", ink=True))
    return "".join(parts) + "</svg>"


def token_columns(episode: EpisodeRecord, tokens: int) -> str:
    """Recomputed tokens per step of one episode, split by reason, with the schedule's budgets."""
    records = [record for record in episode.records if record.reasons.size]
    if not records:
        return _empty("no token selection was received for this episode")
    width, height, left, bottom, top = 980, 220, 44, 40, 12
    pitch = (width - left - 16) / max(len(records), 1)

    def y(count: float) -> float:
        return top + (1 - count / tokens) * (height - top - bottom)

    parts = [_open(width, height, f"Recomputed tokens per step, {episode.selector}")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line(left, y(share * tokens), width - 16, y(share * tokens), "var(--line)"))
        parts.append(_text(left - 8, y(share * tokens) + 4, f"{share * tokens:.0f}", "end"))
    for index, record in enumerate(records):
        base = 0.0
        for kind, count in enumerate(category_counts(record.reasons)):
            if kind == REUSED_INDEX or not count:
                continue
            category = CATEGORIES[kind]
            parts.append(
                f'<rect x="{left + index * pitch + 1:.1f}" y="{y(base + count):.1f}" '
                f'width="{max(pitch - 2, 1):.1f}" height="{y(base) - y(base + count):.1f}" '
                f'fill="{category.hex}"><title>step {record.t}: {count} tokens, '
                f"{category.label}</title></rect>"
            )
            base += count
        if index % max(1, len(records) // 10) == 0:
            parts.append(_text(left + (index + 0.5) * pitch, height - bottom + 16,
                               f"{record.t}", "middle"))
    parts.append(_text((left + width) / 2, height - 6, "policy step", "middle"))
    parts += _schedule_lines(records, lambda i: left + (i + 0.5) * pitch, y, width - 20)
    return "".join(parts) + "</svg>"


def timeline(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    unit: str,
    colours: Mapping[str, str],
) -> str:
    """Lines over time: name to (seconds, values). Of long series each bin of time shows the value
    that is furthest from zero, so that no peak is lost."""
    data = {n: (np.asarray(x, float), np.asarray(y, float)) for n, (x, y) in series.items() if x}
    if not data:
        return _empty("no steps were taken")
    rows = _legend_rows({name: name for name in data}, 980)
    width, height, left, bottom, top = 980, 210 + 20 * len(rows), 64, 40, 12 + 20 * len(rows)
    ends = max(float(x[-1]) for x, _ in data.values()) or 1.0
    every = np.concatenate([y for _, y in data.values()])
    low, high, ticks = _axis(min(float(every.min()), 0.0), max(float(every.max()), 1e-9))
    _, last, seconds = _axis(0.0, ends)

    def x_of(value: float) -> float:
        return left + value / last * (width - left - 16)

    def y_of(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [_open(width, height, f"Over time, {unit}")]
    for tick in ticks:
        parts.append(_line(left, y_of(tick), width - 16, y_of(tick), "var(--line)"))
        parts.append(_text(left - 8, y_of(tick) + 4, f"{tick:g}", "end"))
    for tick in seconds:
        parts.append(_text(x_of(tick), height - bottom + 18, f"{tick:g}", "middle"))
    parts.append(_text((left + width) / 2, height - 6, f"s from the beginning; {unit}", "middle"))
    for name, (x, y) in data.items():
        points = "L".join(f"{x_of(x[i]):.1f} {y_of(y[i]):.1f}" for i in _peaks(x, y, 480))
        parts.append(f'<path d="M{points}" fill="none" stroke="{colours[name]}" '
                     f'stroke-width="1.6"><title>{escape(name)}</title></path>')
    for number, row in enumerate(rows):
        for at, name, told in row:
            parts.append(f'<rect x="{at:.0f}" y="{6 + 20 * number}" width="12" height="12" rx="2" '
                         f'fill="{colours[name]}"/>')
            parts.append(_text(at + 17, 16 + 20 * number, told, "start", ink=True))
    return "".join(parts) + "</svg>"


def _peaks(x: NDArray[np.float64], y: NDArray[np.float64], bins: int) -> list[int]:
    """Places of the values furthest from zero, one for each bin of x that holds any."""
    if x.size <= bins:
        return list(range(x.size))
    bin_of = np.minimum((x / (x[-1] or 1.0) * bins).astype(int), bins - 1)
    order = np.lexsort((-np.abs(y), bin_of))
    first = np.concatenate([[True], np.diff(bin_of[order]) > 0])
    return [int(i) for i in order[first]]


def outcome_grid(outcomes: Mapping[str, Mapping[int, tuple[bool, str]]]) -> str:
    """One square per seed and selector, filled where the episode succeeded."""
    seeds = sorted({seed for row in outcomes.values() for seed in row})
    if not seeds:
        return _empty("no episode ended")
    left = _name_width(outcomes)
    pitch = min(38.0, (980 - left - 60) / len(seeds))
    side = pitch - min(3.0, pitch / 4)
    height = 30 * len(outcomes) + 12
    parts = [_open(980, height, "Outcome per seed")]
    for row, (name, found) in enumerate(outcomes.items()):
        y = 6 + row * 30
        parts.append(_text(left - 10, y + 16, name, "end", ink=True))
        for column, seed in enumerate(seeds):
            if seed not in found:
                continue
            success, told = found[seed]
            fill = "var(--good)" if success else "var(--bad)"
            parts.append(
                f'<rect x="{left + column * pitch:.1f}" y="{y}" width="{side:.2f}" '
                f'height="22" rx="3" fill="{fill}"><title>{escape(name)}, seed {seed}: '
                f"{escape(told)}</title></rect>"
            )
            if not success:  # not by colour alone
                parts.append(f'<text x="{left + column * pitch + side / 2:.1f}" '
                             f'y="{y + 16}" text-anchor="middle" class="on">×</text>')
        total = sum(success for success, _ in found.values())
        parts.append(_text(left + len(seeds) * pitch + 8, y + 16, f"{total}/{len(found)}",
                           "start", ink=True))
    return "".join(parts) + "</svg>"


def _schedule_lines(
    records: Sequence[StepRecord],
    x: Callable[[float], float],
    y: Callable[[float], float],
    right: float,
) -> list[str]:
    """The two budgets as dashed lines, named in the empty upper right of the chart."""
    parts = []
    for row, (name, label) in enumerate(_BUDGETS.items()):
        points = [(i, float(getattr(r, name))) for i, r in enumerate(records)]
        points = [(i, k) for i, k in points if math.isfinite(k) and k > 0]
        if len(points) < 2:
            continue
        path = "M" + "L".join(f"{x(i):.1f} {y(k):.1f}" for i, k in points)
        style = f'stroke="{_SCHEDULE_COLOURS[name]}" stroke-width="2.5" stroke-dasharray="6 4"'
        parts.append(f'<path d="{path}" fill="none" {style}/>')
        at = 24 + 20 * row
        parts.append(f'<line x1="{right - 290:.0f}" y1="{at}" x2="{right - 256:.0f}" y2="{at}" '
                     f"{style}/>")
        parts.append(_text(right - 248, at + 4, f"{label}: {points[0][1]:.0f} → "
                           f"{points[-1][1]:.0f} tokens", "start", ink=True))
    return parts


def _legend_rows(labels: Mapping[str, str], width: float) -> list[list[tuple[float, str, str]]]:
    """Labels by name to rows of (x, name, label) that fit the width."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    at = 10.0
    for name, label in labels.items():
        size = 40 + 7.2 * len(label)
        if rows[-1] and at + size > width + 20:
            rows.append([])
            at = 10.0
        rows[-1].append((at, name, label))
        at += size
    return rows


def _name_width(names: Iterable[str]) -> int:
    """Room for row names at the left of a chart."""
    return 30 + int(7.2 * max((len(name) for name in names), default=0))


def _axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Round bounds and about six round ticks between."""
    span = max(high - low, 1e-9)
    raw = span / 6
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, last * step, [i * step for i in range(first, last + 1)]


def _open(width: float, height: float, title: str) -> str:
    return (f'<svg viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">')


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"/>')


def _text(x: float, y: float, text: str, anchor: str, ink: bool = False) -> str:
    kind = "ink" if ink else "tick"
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">'
            f"{escape(text)}</text>")


def _empty(reason: str) -> str:
    return f'<p class="quiet">Nothing to draw: {escape(reason)}.</p>'
