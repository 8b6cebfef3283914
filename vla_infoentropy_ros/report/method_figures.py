# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/method.md, from an episode of the tabletop:
``python -m vla_infoentropy_ros.report.method_figures [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.report.overlay import token_overlay
from vla_infoentropy_ros.report.palette import selector_colour
from vla_infoentropy_ros.selection import SCHEDULES, SelectionSettings, build_selector
from vla_infoentropy_ros.selection.schedule import budgets
from vla_infoentropy_ros.session import Session, StepResult
from vla_infoentropy_ros.sim.tabletop import Tabletop

SEED = 1_000_004
SHOWN_STEPS = (2, 7, 12)
_SELECTORS = ("info_entropy", "vla_cache", "attention_drift")


def main(argv: Sequence[str]) -> int:
    """Write signals.png, plans.png and schedules.png."""
    plt.switch_backend("Agg")
    folder = Path(argv[0] if argv else "docs/figures")
    folder.mkdir(parents=True, exist_ok=True)
    policy = load_policy("embedded")
    sessions = {name: Session(policy, build_selector(name)) for name in _SELECTORS}
    steps: dict[str, list[StepResult]] = {name: [] for name in sessions}
    with Tabletop() as table:
        instruction = table.reset(SEED).instruction
        for session in sessions.values():
            session.set_instruction(instruction)
        while len(steps["info_entropy"]) <= max(SHOWN_STEPS):
            frame = table.render()
            for name, session in sessions.items():
                steps[name].append(session.step([frame]))
            table.step(steps["attention_drift"][-1].action.values)
    _signals(steps, instruction, policy.grid, folder / "signals.png")
    _plans(steps, instruction, policy.grid, folder / "plans.png")
    _schedules(folder / "schedules.png")
    print(f"wrote signals.png, plans.png and schedules.png to {folder}")
    return 0


def _signals(
    steps: dict[str, list[StepResult]], instruction: str, grid: tuple[int, int], path: Path
) -> None:
    columns = ("image entropy", "attention information", "attention mass", "drift")
    figure, axes = plt.subplots(
        len(SHOWN_STEPS), len(columns) + 1, figsize=(13, 8), layout="constrained"
    )
    for row, t in zip(axes, SHOWN_STEPS, strict=True):
        paper, ours = steps["info_entropy"][t].report, steps["attention_drift"][t].report
        picture = steps["info_entropy"][t].image[0]
        row[0].imshow(picture)
        row[0].set_ylabel(f"t = {t}")
        maps = (paper.image_entropy, paper.attention_information, ours.attention_mass, ours.drift)
        for axis, values, title in zip(row[1:], maps, columns, strict=True):
            axis.imshow(picture, alpha=0.35)
            _heat(axis, values, grid, picture.shape[0])
            if t == SHOWN_STEPS[0]:
                axis.set_title(title)
    _bare(axes)
    figure.suptitle(f"“{instruction}”: the signals of a step (each map scaled to its own maximum)")
    figure.savefig(path, dpi=80)


def _plans(
    steps: dict[str, list[StepResult]], instruction: str, grid: tuple[int, int], path: Path
) -> None:
    figure, axes = plt.subplots(
        len(SHOWN_STEPS), len(steps), figsize=(10.5, 10.5), layout="constrained"
    )
    for row, t in zip(axes, SHOWN_STEPS, strict=True):
        for axis, (name, results) in zip(row, steps.items(), strict=True):
            report = results[t].report
            axis.imshow(token_overlay(results[t].image[0], report.reasons, grid))
            axis.set_title(f"{name}, t = {t}: {report.fresh} of {report.reasons.size} recomputed",
                           fontsize=10)
    _bare(axes)
    figure.suptitle(
        "Colour = recomputed, grey = reused. amber: image entropy, blue: attention, green: both,\n"
        f"magenta: changed or drifted. “{instruction}”"
    )
    figure.savefig(path, dpi=80)


def _schedules(path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    colours = [selector_colour(name) for name in ("info_entropy", "attention_drift", "vla_cache",
                                                  "vla_pruner")]
    settings, times = SelectionSettings(), np.arange(0, 131)
    drawn = [name for name in SCHEDULES if name != "adaptive"]
    for name, colour in zip(drawn, colours, strict=True):
        shares = [budgets(name, int(t), settings) for t in times]
        axis.step(times, [share.visual for share in shares], color=colour, label=name)
        axis.step(times, [share.attention for share in shares], color=colour, linestyle=":")
    axis.set_xlabel("t, policy steps")
    axis.set_ylabel("tokens per view")
    axis.set_title("solid: image entropy, dotted: attention (k1 = 40, k2 = 60, T = 100)")
    axis.legend(ncols=2)
    figure.savefig(path, dpi=80)


def _heat(axis: plt.Axes, values: NDArray[np.float32], grid: tuple[int, int], side: int) -> None:
    axis.imshow(values.reshape(grid), extent=(0, side, side, 0), cmap="magma", alpha=0.7)


def _bare(axes: NDArray[Any]) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
