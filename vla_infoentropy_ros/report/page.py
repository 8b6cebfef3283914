# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one file, nothing to fetch, the answer on the first screen."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_infoentropy_ros.report import charts
from vla_infoentropy_ros.report.elements import document, dot, figure, legend
from vla_infoentropy_ros.report.overlay import Picture, recompute_map, share_bar, token_overlay
from vla_infoentropy_ros.report.palette import CATEGORIES, category_counts
from vla_infoentropy_ros.report.records import RunRecord, ShownEpisode, ShownStep
from vla_infoentropy_ros.report.statistics import BASELINE, latencies
from vla_infoentropy_ros.report.verdict import headline, table_rows, verdicts

_STILL = 320  # pixels, edge
_TYPES = {".mp4": "video/mp4", ".gif": "image/gif"}


def report_page(
    run: RunRecord, summary: Mapping[str, Any], video: Path | None = None, commands: str = ""
) -> str:
    """The whole page. video: is embedded. commands: what to type next, shown as it is."""
    body = "".join([
        _first_screen(run, summary),
        _watch(run, video),
        _latency(run, summary),
        _tokens(run),
        _outcomes(run, summary),
        _how_to_read(len(run.seeds)),
        _facts(run, summary, commands),
    ])
    return document(f"Camera to command: {', '.join(run.selectors)}", body)


def _first_screen(run: RunRecord, summary: Mapping[str, Any]) -> str:
    header, rows = table_rows(summary)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    strong = {header.index("speed-up"), header.index("success"), header.index("p50 ms")}
    body = ""
    for row in rows:
        cells = [f'<td class="key">{dot(row[0])}{escape(row[0])}</td>']
        for column, cell in enumerate(row[1:], start=1):
            kind = ' class="big"' if column in strong else ""
            cells.append(f"<td{kind}>{escape(cell) or '–'}</td>")
        body += f"<tr>{''.join(cells)}</tr>"
    told = "".join(
        f"<li>{dot(name)}<b>{escape(name)}</b>: {escape(text)}</li>"
        for name, text in verdicts(summary).items()
    )
    hardware = run.hardware.get("cpu", "unknown processor")
    return (
        "<h1>Camera to command, with and without a reused KV cache</h1>"
        f'<p class="quiet">{len(run.seeds)} episodes per selector on the same seeds, '
        f"{escape(str(hardware))}, {escape(str(run.hardware.get('cores', '?')))} cores, "
        f"{escape(_middleware(run))}.</p>"
        "<p>A vision-language-action policy drives a simulated arm from a camera and one sentence. "
        "From frame to frame most of the picture stays the same, so most of what the language "
        "model computed for it can be kept. This page compares ways to choose what to compute "
        "anew with computing everything (dense).</p>"
        f'<p class="lead">{escape(headline(summary))}</p>'
        f'<div class="card"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<ul class="verdicts">{told}</ul></div>'
    )


def _watch(run: RunRecord, video: Path | None) -> str:
    if video is None or not video.exists():
        return ""
    kind = _TYPES[video.suffix]
    data = f"data:{kind};base64,{base64.b64encode(video.read_bytes()).decode()}"
    moving = (
        f'<video src="{data}" controls loop muted autoplay playsinline></video>'
        if kind.startswith("video")
        else f'<img class="wide" alt="overlay" src="{data}">'
    )
    return (
        "<h2>Watch it choose</h2><p>The same task under each selector. A patch in colour was "
        "recomputed in this step, and its frame says why; a grey patch kept the keys and values "
        "that the language model already had. Below each picture: latency of the step, and how "
        f"many tokens each step so far recomputed.</p>{moving}"
    )


def _latency(run: RunRecord, summary: Mapping[str, Any]) -> str:
    series = {name: latencies(run.of(name)) for name in run.selectors}
    stages = {name: summary[name]["stages_ms"] for name in run.selectors}
    return (
        "<h2>Where the time goes</h2><p>Left: how the latencies of all steps are spread; further "
        "left is faster, steeper is steadier. Right: the median of each stage. Token reuse "
        "shortens the prefill alone; what it costs stands under <i>select</i>. Decoding is the "
        "same work for all but <i>+window</i>, vision for all.</p>"
        f'<div class="pair"><div class="card">{charts.latency_curves(series)}</div>'
        f'<div class="card">{charts.stage_bars(stages)}</div></div>{_graph_latency(summary)}'
    )


def _graph_latency(summary: Mapping[str, Any]) -> str:
    told = []
    for name in summary["selectors"]:
        graph = summary[name]["command_latency_ms"]
        if graph["p50"] is not None:
            told.append(f"{name} {graph['p50']:.1f} (p95 {graph['p95']:.1f})")
    if not told:
        return ""
    return (
        "<p>As the robot sees it, from a camera image published to its command received, over the "
        f"graph and back, median in ms: {escape('; '.join(told))}.</p>"
    )


def _tokens(run: RunRecord) -> str:
    if not run.shown:
        return ""
    intro = (
        "<h2>Which tokens, and why</h2><p>One episode of each selector but dense, which recomputes "
        "all tokens in every step. The first step of an episode always recomputes everything. "
        "Dashed lines are the schedule: image entropy's budget falls while attention's rises. The "
        "milliseconds under a still are of that one step; those of the table are medians of all."
        "</p>"
    )
    parts = [intro, _legend(run)]
    for shown in run.shown:
        name = shown.episode.selector
        if name == BASELINE or ("+" in name and name.partition("+")[0] in run.selectors):
            continue  # everything, always; or the tokens of the plain selector once more
        tokens = shown.grid[0] * shown.grid[1]
        chart = charts.token_columns(shown.episode, tokens)
        parts.append(
            f'<div class="card"><h3>{dot(shown.episode.selector)}'
            f"{escape(shown.episode.selector)}</h3>{chart}{_frames(shown)}</div>"
        )
    return "".join(parts)


def _frames(shown: ShownEpisode) -> str:
    tokens = shown.grid[0] * shown.grid[1]
    steps = [step for step in shown.steps if step.record.reasons.size >= tokens]
    if len(steps) < 2:
        return ""
    places = sorted({1, len(steps) // 2, len(steps) - 1})
    cells = []
    for place in places:
        step = steps[place]
        picture = token_overlay(step.image, step.record.reasons[:tokens], shown.grid, _STILL)
        cells.append(figure(np.vstack((_camera(step), picture)),
                            f"step {step.record.t}: {step.record.fresh} tokens fresh, "
                            f"{step.record.latency_ms:.1f} ms"))
    after_first = np.stack([step.record.reasons[:tokens] != 0 for step in steps[1:]])
    heat = recompute_map(steps[-1].image, after_first.mean(axis=0), shown.grid, _STILL)
    cells.append(figure(np.vstack((heat, share_bar(_STILL))),
                        "how often each patch was recomputed, from never (left end of the bar) to "
                        "always (right end)"))
    return f'<div class="frames">{"".join(cells)}</div>'


def _camera(step: ShownStep) -> Picture:
    """The picture alone, as large as the still under it."""
    return np.asarray(Image.fromarray(step.image).resize((_STILL, _STILL),
                                                         Image.Resampling.BICUBIC))


def _legend(run: RunRecord) -> str:
    total = np.zeros(len(CATEGORIES), dtype=int)
    for shown in run.shown:
        for step in shown.steps:
            total += np.array(category_counts(step.record.reasons))
    return legend(np.flatnonzero(total).tolist())


def _outcomes(run: RunRecord, summary: Mapping[str, Any]) -> str:
    grid = {
        name: {
            e.seed: (e.success, f"{e.reason} after {e.steps} steps: {e.instruction}")
            for e in run.of(name)
        }
        for name in run.selectors
    }
    failures = "".join(
        f"<li>{escape(name)}, seed {f['seed']}: {escape(f['reason'])}, "
        f"“{escape(f['instruction'])}”</li>"
        for name in run.selectors
        for f in summary[name]["failures"]
    )
    listed = f"<details><summary>Episodes that failed</summary><ul>{failures}</ul></details>"
    return (
        "<h2>Same seeds, same tasks</h2><p>Each column is one scene. Comparing within a column "
        "tells more than comparing the totals: the scenes differ more than the selectors do.</p>"
        f'<div class="card">{charts.outcome_grid(grid)}{listed if failures else ""}</div>'
    )


def _how_to_read(episodes: int) -> str:
    return f"""<h2>How to read this</h2><div class="card"><dl>
<dt>success, 95 % interval</dt><dd>Share of episodes in which the task was done, with its Wilson
interval, here from {episodes} of each; more episodes (<code>make demo EPISODES=100</code>) narrow
it.</dd>
<dt>p50, p95, p99</dt><dd>Latency of the whole policy step (image in, action out), over every step
of every episode, the full first step included. Papers often quote the prefill alone.</dd>
<dt>speed-up</dt><dd>p50 of dense divided by p50 of the selector. The selectors take turns on every
seed, so that a busy machine slows all of them alike.</dd>
<dt>tokens</dt><dd>Share of the visual tokens whose keys and values were recomputed; the rest came
from the step before.</dd>
<dt>+window</dt><dd>The same tokens are reused, but the action is not decoded token by token: the
last action's tokens are verified in one pass, and only where they differ more passes follow. The
action is the same, token for token.</dd>
<dt>image entropy, attention</dt><dd>The patch is among the most textured ones, or among those that
few words of the instruction claim for themselves.</dd>
<dt>changed (pixels or drift)</dt><dd>The patch (info_entropy) or its embedding (attention_drift)
moved away from the one that its cached keys and values were made from. The paper's preset lets at
most 150 tokens count as unchanged: where less than that changed, others are recomputed under this
colour too.</dd></dl></div>"""


def _facts(run: RunRecord, summary: Mapping[str, Any], commands: str) -> str:
    rows: list[tuple[str, str]] = [("middleware", _middleware(run))]
    rows += [(f"policy: {key}", str(value)) for key, value in run.policy.items()]
    rows += [(key, str(value)) for key, value in run.hardware.items()]
    rows += [(key, str(value)) for key, value in run.versions.items()]
    rows += [
        (f"{name} settings", ", ".join(f"{key} {value}" for key, value in values.items()))
        for name, values in run.settings.items()
    ]
    rows.append(("seeds", _spans(run.seeds)))
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows if b)
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    then = f"<h2>Next</h2><pre>{escape(commands)}</pre>" if commands else ""
    return (
        f'<h2>Measured on</h2><div class="card"><table class="facts"><tbody>{cells}</tbody></table>'
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>{then}"
        '<p class="quiet">All figures of this page are in <code>summary.json</code> beside it.</p>'
    )


def _middleware(run: RunRecord) -> str:
    return " over ".join(filter(None, (run.middleware, run.versions.get("rmw"))))


def _spans(seeds: Sequence[int]) -> str:
    if seeds and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
