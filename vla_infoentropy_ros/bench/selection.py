# SPDX-License-Identifier: Apache-2.0
"""What selection costs beside a dense step, and what the attention probe costs inside one.

The choice is the selector alone: signals, ranking, plan. The whole stage ``select`` adds reading
the probe, the memory of what was computed when, and the report. The probe inside the step is
measured by a selector that recomputes everything, like dense, and reads all attention.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vla_infoentropy_ros.bench.steps import (
    FIRST_SEED,
    load_asked,
    machine_record,
    run_interleaved,
    solved_episode,
)
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.selection import (
    SELECTORS,
    Selection,
    SelectionInput,
    SelectionSettings,
    Selector,
    build_selector,
)
from vla_infoentropy_ros.selection.dense import Dense
from vla_infoentropy_ros.session import Session, StepResult

_LAYERS = ("all", "latter_half", "every_fourth")


class _ProbedDense(Dense):
    """Dense, but for reading the attention of the layers that a setting names."""

    def __init__(self, layers: str) -> None:
        settings = replace(SelectionSettings(), attention_layers=layers)
        self._probed = build_selector("attention_drift", settings=settings)

    def needs(self, depth: int) -> AttentionNeeds:
        return self._probed.needs(depth)


class _Timed:
    """A selector that notes how long each choice takes, s."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector
        self.name, self.schedule, self.reuses = selector.name, selector.schedule, selector.reuses
        self.spent_s: list[float] = []

    def needs(self, depth: int) -> AttentionNeeds:
        return self._selector.needs(depth)

    def select(self, given: SelectionInput) -> Selection:
        start = time.perf_counter()
        selection = self._selector.select(given)
        self.spent_s.append(time.perf_counter() - start)
        return selection


def main(argv: Sequence[str]) -> int:
    """Measure and print two tables: selection by selector, probe by layers."""
    parser = argparse.ArgumentParser(prog="vla_infoentropy_ros bench selection",
                                     description=__doc__)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--out", help="write the tables as JSON to this file")
    add_load_arguments(parser)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    policy = load_asked(options)
    timed = {name: _Timed(build_selector(name)) for name in SELECTORS}
    sessions = {name: Session(policy, timed[name]) for name in SELECTORS}
    sessions |= {f"probe {layers}": Session(policy, _ProbedDense(layers)) for layers in _LAYERS}
    episodes = [solved_episode(FIRST_SEED + index) for index in range(options.episodes)]
    run_interleaved(sessions, episodes[:1])  # warm-up
    for selector in timed.values():
        selector.spent_s.clear()
    results = run_interleaved(sessions, episodes)
    tables = _tables(timed, results)
    _print(tables)
    if options.out:
        record = machine_record("selection", options, tables)
        Path(options.out).write_text(json.dumps(record, indent=2) + "\n")
    return 0


def _tables(
    timed: dict[str, _Timed], results: dict[str, list[StepResult]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Medians. What a probe adds is taken frame by frame, so that a machine whose clock drifts
    does not drown it."""
    dense_ms = np.array([step.latency_ms for step in results["dense"]])
    later = np.array([step.t > 0 for step in results["dense"]])  # the first of an episode is dense
    dense = float(np.median(dense_ms[later]))
    selectors, probes = {}, {}
    for name in SELECTORS:
        choice = float(np.median(timed[name].spent_s)) * 1e3
        stage = [step.stages_ms["select"] for step in results[name] if step.t]
        selectors[name] = {
            "choice_ms": choice, "share": choice / dense, "stage_ms": float(np.median(stage))
        }
    for layers in _LAYERS:
        probed_ms = np.array([step.latency_ms for step in results[f"probe {layers}"]])
        added = float(np.median((probed_ms - dense_ms)[later]))
        probes[layers] = {"added_ms": added, "share": added / dense}
    return {"dense": {"step": {"p50_ms": dense}}, "selectors": selectors, "probes": probes}


def _print(tables: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"dense step: {tables['dense']['step']['p50_ms']:.2f} ms\n"
          f"{'selector':18} {'choice ms':>9}  of a dense step   {'whole stage ms':>14}")
    for name, row in tables["selectors"].items():
        print(f"{name:18} {row['choice_ms']:9.2f}  {row['share']:15.1%}   {row['stage_ms']:14.2f}")
    print(f"{'probe of layers':18} {'added ms':>9}  of a dense step")
    for name, row in tables["probes"].items():
        print(f"{name:18} {row['added_ms']:9.2f}  {row['share']:6.1%}")
