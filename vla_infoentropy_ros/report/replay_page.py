# SPDX-License-Identifier: Apache-2.0
"""The page of a replay: how far the variants' actions are apart, where most, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.report import charts
from vla_infoentropy_ros.report.elements import document, figure, legend, table
from vla_infoentropy_ros.report.overlay import Picture
from vla_infoentropy_ros.report.palette import CATEGORIES, REUSED_INDEX, selector_colour

_TURNS = ("#d1495b", "#2e933c", "#2f6fde")  # x, y, z, as every viewer of frames colours them


@dataclass(frozen=True)
class Strip:
    """Consecutive frames around a moment, each as each variant saw it. rows: variant to
    (caption, picture) per frame."""

    title: str
    rows: Mapping[str, Sequence[tuple[str, Picture]]]


@dataclass(frozen=True)
class Curves:
    """seconds: per step, from the first. latency_ms, recomputed (0 .. 1): per step."""

    seconds: Sequence[float]
    latency_ms: Sequence[float]
    recomputed: Sequence[float]


@dataclass(frozen=True)
class Apart:
    """ours - base per step. difference: (n, 7), m, rad and openings. flips: (n,) bool."""

    ours: str
    base: str
    seconds: Sequence[float]
    difference: NDArray[np.float64]
    flips: NDArray[np.bool_]


@dataclass(frozen=True)
class ReplayRecord:
    """What a replay found. summary: the content of replay.json. notes: sentences to be read."""

    summary: Mapping[str, Any]
    curves: Mapping[str, Curves]
    apart: Sequence[Apart] = ()
    strips: Sequence[Strip] = ()
    notes: Sequence[str] = ()
    axes: Sequence[str] = field(default=("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"))


def replay_page(record: ReplayRecord) -> str:
    """The whole page as HTML."""
    body = "".join([_first_screen(record), _differences(record), _worst(record), _cost(record),
                    _facts(record)])
    return document(f"Replay of {record.summary['recording']}", body)


def headline(summary: Mapping[str, Any]) -> str:
    """The one sentence to read first."""
    gaps = summary["differences"]
    if not gaps:
        return "One variant was replayed, and there is nothing to compare it with."
    gap = gaps[0]
    far = max(gap["max"][axis] for axis in ("dx", "dy", "dz"))
    turn = max(gap["max"][axis] for axis in ("droll", "dpitch", "dyaw"))
    return (f"{gap['ours']} decides exactly as {gap['base']} does on {gap['equal_actions']} of "
            f"{gap['steps']} frames; where they differ it is by at most "
            f"{far * 1e3:.1f} mm and {turn * 1e3:.1f} mrad per control period, and "
            f"{gap['gripper_flips']} times in what the gripper does.")


def _first_screen(record: ReplayRecord) -> str:
    summary = record.summary
    rows = []
    for name, figures in summary["variants"].items():
        latency, share = figures["latency_ms"], figures["recomputed_fraction"]
        rows.append([name, str(figures["steps"]), _ms(latency["p50"]), _ms(latency["p95"]),
                     "" if share is None else f"{share:.0%}", str(figures["full_steps"])])
    told = "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    return (
        "<h1>What the policy would have done</h1>"
        f'<p class="quiet">{summary["images"]["used"]} frames of '
        f"{escape(', '.join(summary['cameras']))} in {escape(str(summary['recording']))}, "
        f"“{escape(summary['instruction'])}”, policy {escape(summary['policy']['name'])} "
        f"{escape(summary['policy']['revision'])}.</p>"
        f'<p class="lead">{escape(headline(summary))}</p>'
        + table(("variant", "steps", "p50 ms", "p95 ms", "tokens", "full steps"), rows)
        + (f'<div class="card"><ul>{told}</ul></div>' if told else "")
    )


def _differences(record: ReplayRecord) -> str:
    if not record.apart:
        return ""
    parts = ["<h2>How far apart</h2><p>Each variant saw the same images. Increments of one control "
             "period: translation in m, rotation in rad, the gripper 0 closed to 1 open.</p>"]
    header = ("", "", *record.axes)
    rows = []
    for gap in record.summary["differences"]:
        name = f"{gap['ours']} against {gap['base']}"
        for row in ("max", "p95", "mean"):
            rows.append([name, row, *(f"{gap[row][axis]:.4f}" for axis in record.axes)])
    parts.append(table(header, rows))
    for apart in record.apart:
        title = escape(f"{apart.ours} against {apart.base}")
        parts.append(f'<div class="card"><h3>{title}</h3>')
        for first, kind, unit in ((0, "translation", "m"), (3, "rotation", "rad")):
            names = record.axes[first:first + 3]
            part = apart.difference[:, first:first + 3]
            if not part.any():
                parts.append(f"<p>No difference of {kind}.</p>")
                continue
            lines = {n: (apart.seconds, part[:, i].tolist()) for i, n in enumerate(names)}
            colours = dict(zip(names, _TURNS, strict=True))
            parts.append(charts.timeline(lines, f"difference of {kind}, {unit}", colours))
        flips = [f"{s:.1f}" for s, flip in zip(apart.seconds, apart.flips, strict=True) if flip]
        shown = ", ".join(flips[:40]) + (" and more" if len(flips) > 40 else "")
        parts.append(f"<p>The gripper: {len(flips)} flips"
                     f"{f', at {shown} s' if flips else ''}.</p></div>")
    return "".join(parts)


def _worst(record: ReplayRecord) -> str:
    if not record.strips:
        return ""
    parts = ["<h2>Worst moments first</h2><p>A centimetre, 50 mrad and half of the gripper's "
             "opening weigh alike. Two frames before, the moment, one after. Colour: recomputed in "
             "this step; dark: keys and values of an earlier one.</p>",
             legend([k for k in range(len(CATEGORIES)) if k != REUSED_INDEX])]
    for strip in record.strips:
        rows = ""
        for name, frames in strip.rows.items():
            shots = "".join(figure(picture, caption, "JPEG") for caption, picture in frames)
            rows += f'<p class="quiet">{escape(name)}</p><div class="frames">{shots}</div>'
        parts.append(f'<div class="card"><h3>{escape(strip.title)}</h3>{rows}</div>')
    return "".join(parts)


def _cost(record: ReplayRecord) -> str:
    colours = {name: selector_colour(name) for name in record.curves}
    latency = {n: (c.seconds, c.latency_ms) for n, c in record.curves.items()}
    share = {n: (c.seconds, [100 * r for r in c.recomputed]) for n, c in record.curves.items()}
    return (
        "<h2>What a step costs</h2><p>The variants take turns at every frame, so that a busy "
        "machine slows all alike. Nothing was dropped for being late, as a live node would "
        "drop it.</p>"
        f'<div class="card">{charts.timeline(latency, "latency of a step, ms", colours)}'
        f'{charts.timeline(share, "visual tokens recomputed, %", colours)}</div>'
    )


def _facts(record: ReplayRecord) -> str:
    rows = [(key, str(value)) for key, value in record.summary["measured_on"].items()]
    rows += [(f"setting {key}", str(value)) for key, value in record.summary["settings"].items()]
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return (f'<h2>Measured on</h2><div class="card"><table class="facts"><tbody>{cells}</tbody>'
            "</table></div><p class=\"quiet\">All figures of this page are in "
            "<code>replay.json</code> beside it, every action in <code>bag/</code>.</p>")


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
