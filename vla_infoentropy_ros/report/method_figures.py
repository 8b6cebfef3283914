# SPDX-License-Identifier: Apache-2.0
"""The pictures of README.md and docs/method.md, from an episode of the tabletop:
``python -m vla_infoentropy_ros.report.method_figures [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.report.canvas import overlay_frames
from vla_infoentropy_ros.report.overlay import token_overlay
from vla_infoentropy_ros.report.palette import (
    CATEGORIES,
    REUSED_INDEX,
    category_counts,
    selector_colour,
)
from vla_infoentropy_ros.report.records import EpisodeRecord, ShownEpisode, ShownStep, StepRecord
from vla_infoentropy_ros.selection import SCHEDULES, SelectionSettings
from vla_infoentropy_ros.selection.schedule import budgets
from vla_infoentropy_ros.session import StepResult
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.variants import RECOMMENDED, Variant
from vla_infoentropy_ros.video import write_gif

SEED = 1_000_004
SHOWN_STEPS = (2, 7, 12)
DRIVES = str(RECOMMENDED)
_WATCHES = {  # by the name of its column: variant and schedule, on the same frames
    "info_entropy": ("info_entropy", "linear"),
    "vla_cache": ("vla_cache", "linear"),
    "attention_drift": (DRIVES, "linear"),
    "adaptive": ("info_entropy", "adaptive"),
}
_PLANS = ("info_entropy", "vla_cache", "attention_drift")
_SIGNALS = {  # in the units of TokenSelection.msg, with their source
    "image entropy, share of log G": ("info_entropy", "image_entropy"),
    "attention information": ("info_entropy", "attention_information"),
    "attention mass, share": ("attention_drift", "attention_mass"),
    "drift, |e - e_ref|": ("attention_drift", "drift"),
}
_CLIP = (800, 450)  # pixels
_OURS = SelectionSettings()
OF = f"{DRIVES}, {_OURS.fresh_tokens} tokens, drift_exponent {_OURS.drift_exponent}"
"""Which defaults the pictures show; it stands in their files, for whoever changes a default."""

Steps = Mapping[str, Sequence[StepResult]]


def main(argv: Sequence[str]) -> int:
    """Write signals.png, plans.png, schedules.png and episode.gif."""
    plt.switch_backend("Agg")
    folder = Path(argv[0] if argv else "docs/figures")
    folder.mkdir(parents=True, exist_ok=True)
    policy = load_policy("embedded")
    steps, instruction, success = _played(policy)
    _signals(steps, instruction, policy.grid, folder / "signals.png")
    _plans(steps, instruction, policy.grid, folder / "plans.png")
    _schedules(steps["adaptive"], folder / "schedules.png")
    shown = clip_episodes(steps["attention_drift"], instruction, success, policy.grid)
    write_gif([np.asarray(Image.fromarray(frame).resize(_CLIP, Image.Resampling.LANCZOS))
               for frame in overlay_frames(shown)], folder / "episode.gif")
    print(f"wrote signals.png, plans.png, schedules.png and episode.gif to {folder}")
    return 0


def _played(policy: PolicyAdapter) -> tuple[dict[str, list[StepResult]], str, bool]:
    """The episode that `DRIVES` drives, seen by all; its instruction, and whether it succeeded."""
    sessions = {
        name: Variant.parse(variant).session(policy, schedule, SelectionSettings())
        for name, (variant, schedule) in _WATCHES.items()
    }
    steps: dict[str, list[StepResult]] = {name: [] for name in sessions}
    with Tabletop() as table:
        task = table.reset(SEED)
        for session in sessions.values():
            session.set_instruction(task.instruction)
        while not table.success() and len(steps["attention_drift"]) < table.max_steps:
            frame = table.render()
            for name, session in sessions.items():
                steps[name].append(session.step([frame]))
            table.step(steps["attention_drift"][-1].action.values)
        return steps, task.instruction, table.success()


def clip_episodes(
    steps: Sequence[StepResult], instruction: str, success: bool, grid: tuple[int, int]
) -> list[ShownEpisode]:
    """The episode twice, as the camera saw it and as tokens; without milliseconds, since drawing
    and watching selectors share its time."""
    shown = []
    for name in ("camera", DRIVES):
        records = [_record(step, name == "camera") for step in steps]
        episode = EpisodeRecord(name, SEED, instruction, success, len(steps), "", tuple(records))
        shown.append(ShownEpisode(episode, tuple(
            ShownStep(record, step.image[0])
            for record, step in zip(records, steps, strict=True)), grid))
    return shown


def _record(step: StepResult, plain: bool) -> StepRecord:
    if plain:
        return StepRecord(step.t, float("nan"), {}, np.zeros(0, dtype=np.uint8))
    report = step.report
    return StepRecord(step.t, float("nan"), {}, report.reasons, fresh=report.fresh,
                      reused=report.reused, pruned=report.pruned)


def _signals(steps: Steps, instruction: str, grid: tuple[int, int], path: Path) -> None:
    """One row a step, one column a signal; a column has one scale, from 0 to its largest."""
    figure, axes = plt.subplots(
        len(SHOWN_STEPS), len(_SIGNALS) + 1, figsize=(13, 8.6), layout="constrained"
    )
    for row, t in zip(axes, SHOWN_STEPS, strict=True):
        row[0].imshow(steps["info_entropy"][t].image[0])
        row[0].set_ylabel(f"t = {t}")
    axes[0, 0].set_title("camera")
    for column, (title, (name, signal)) in zip(axes.T[1:], _SIGNALS.items(), strict=True):
        maps = [getattr(steps[name][t].report, signal) for t in SHOWN_STEPS]
        largest = max(float(values.max()) for values in maps)
        for axis, t, values in zip(column, SHOWN_STEPS, maps, strict=True):
            picture = steps[name][t].image[0]
            axis.imshow(picture, alpha=0.35)
            drawn = axis.imshow(values.reshape(grid), cmap="magma", alpha=0.7, vmin=0, vmax=largest,
                                extent=(0, picture.shape[1], picture.shape[0], 0))
        column[0].set_title(title)
        figure.colorbar(drawn, ax=column.tolist(), location="bottom", shrink=0.85)
    _bare(axes)
    figure.suptitle(f"“{instruction}”: the signals of a step, one scale per signal")
    _save(figure, path)


def _plans(steps: Steps, instruction: str, grid: tuple[int, int], path: Path) -> None:
    figure, axes = plt.subplots(
        len(SHOWN_STEPS), len(_PLANS) + 1, figsize=(13.5, 11), layout="constrained"
    )
    seen = np.zeros(len(CATEGORIES), dtype=int)
    for row, t in zip(axes, SHOWN_STEPS, strict=True):
        row[0].imshow(steps[_PLANS[0]][t].image[0])
        row[0].set_title(f"camera, t = {t}", fontsize=10)
        for axis, name in zip(row[1:], _PLANS, strict=True):
            report = steps[name][t].report
            seen += np.array(category_counts(report.reasons))
            axis.imshow(token_overlay(steps[name][t].image[0], report.reasons, grid))
            axis.set_title(f"{name}: {report.fresh} of {report.reasons.size} recomputed",
                           fontsize=10)
    _bare(axes)
    swatches = [
        Patch(color="#41454e" if kind == REUSED_INDEX else CATEGORIES[kind].hex,
              label=CATEGORIES[kind].label)
        for kind in np.flatnonzero(seen).tolist()
    ]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(swatches), frameon=False,
                  title="Colour: recomputed in this step, and why. Dark: kept.")
    figure.suptitle(f"“{instruction}”: the plans of three selectors on the same frames")
    _save(figure, path)


def _schedules(adaptive: Sequence[StepResult], path: Path) -> None:
    """adaptive: the steps of an episode, which that schedule follows instead of the clock."""
    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    settings, times = SelectionSettings(), np.arange(0, 131)
    fixed = [name for name in SCHEDULES if name != "adaptive"]
    colours = [selector_colour(name) for name in ("info_entropy", "attention_drift", "vla_cache",
                                                  "vla_pruner")]
    for name, colour in zip(fixed, colours, strict=True):
        shares = [budgets(name, int(t), settings) for t in times]
        _budget_lines(axis, times, [share.visual for share in shares],
                      [share.attention for share in shares], colour, name)
    told = [step for step in adaptive if step.report.k_visual >= 0]
    _budget_lines(axis, np.array([step.t for step in told]),
                  [step.report.k_visual for step in told],
                  [step.report.k_attention for step in told], "#111827",
                  f"adaptive, an episode of {len(adaptive)} steps")
    axis.set_xlabel("t, policy steps")
    axis.set_ylabel("tokens per view")
    axis.set_title(f"solid: image entropy, dotted: attention (k1 = {settings.k1}, "
                   f"k2 = {settings.k2}, T = {settings.horizon})")
    figure.legend(loc="outside right center", frameon=False)
    _save(figure, path)


def _budget_lines(
    axis: plt.Axes, times: NDArray[np.integer[Any]], visual: Sequence[int],
    attention: Sequence[int], colour: str, name: str,
) -> None:
    axis.step(times, visual, color=colour, label=name)
    axis.step(times, attention, color=colour, linestyle=":")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=80, metadata={"Description": OF})


def _bare(axes: NDArray[Any]) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
