# SPDX-License-Identifier: Apache-2.0
"""The page of a run on LIBERO: what each row won, where, and how that looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.report.elements import document, dot, table

_HEADER = ("row", "success", "95 %", "won / lost against dense", "95 % of the difference", "steps",
           "visual tokens fresh", "policy step, ms", "end to end, ms")


def libero_page(record: Mapping[str, Any], films: Mapping[str, Sequence[Path]]) -> str:
    """record: as ``bench libero`` writes it; films: videos of each row, relative to the page."""
    rows: Mapping[str, Mapping[str, Any]] = record["rows"]
    return document("LIBERO", "".join((
        "<h1>LIBERO</h1>",
        f'<p class="quiet">{_policy(record)}, {_machine(record)}.</p>',
        "<p>Every row plays the same initial states of the benchmark. Rows differ in which visual "
        "tokens the language model computes anew at each step; a control is told or shown "
        "something wrong, and should fail.</p>",
        table(_HEADER, (_line(name, of) for name, of in rows.items() if of["episodes"])),
        *_suites(rows),
        _cinema(films),
    )))


def _line(name: str, of: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = of["success_ci95"]
    paired = of["pairs"] and name != "dense"
    worst, best = of["difference_ci95"]
    return (
        name, f"{of['successes']} of {of['episodes']}", f"{low:.0%} to {high:.0%}",
        "{won_against_dense} / {lost_against_dense} of {pairs}".format_map(of) if paired else "",
        f"{100 * worst:+.1f} to {100 * best:+.1f} points" if paired else "",
        *(f"{of[key]:.0f}" for key in
          ("steps_mean", "fresh_mean", "step_ms_median", "policy_ms_median")),
    )


def _suites(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Of each suite, successes by task."""
    names = dict.fromkeys(suite for of in rows.values() for suite in of["suites"])
    for suite in names:
        of_suite = {name: of["suites"][suite]["tasks"] for name, of in rows.items()
                    if suite in of["suites"]}
        tasks = sorted({task for tasks in of_suite.values() for task in tasks}, key=int)
        yield f"<h2>{escape(suite)}, by task</h2>" + table(
            ("row", *tasks),
            ((name, *(of.get(task, "") for task in tasks)) for name, of in of_suite.items()))


def _cinema(films: Mapping[str, Sequence[Path]]) -> str:
    shown = "".join(
        f"<h3>{dot(name.split(' ')[0])}{escape(name)}</h3><div class=\"frames\">"
        + "".join(map(_film, paths)) + "</div>"
        for name, paths in films.items() if paths)
    return shown and f"<h2>The first episode of each task, as the policy saw it</h2>{shown}"


def _film(path: Path) -> str:
    source, caption = escape(path.as_posix()), escape(path.stem)
    moving = (f'<img alt="{caption}" src="{source}">' if path.suffix == ".gif" else
              f'<video src="{source}" controls loop muted playsinline></video>')
    return f"<figure>{moving}<figcaption>{caption}</figcaption></figure>"


def _policy(record: Mapping[str, Any]) -> str:
    """Whose episodes they are, whatever was asked for when the page was made."""
    of = record["of"]
    return escape(f"Policy {of['policy']}, rendering {of['rendering']}"
                  if {"policy", "rendering"} <= of.keys() else
                  "Of a policy that the folder does not name")


def _machine(record: Mapping[str, Any]) -> str:
    hardware = record["hardware"]
    return escape(f"{hardware.get('cpu', '?')}, {hardware.get('cores', '?')} cores")
