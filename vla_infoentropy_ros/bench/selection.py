# SPDX-License-Identifier: Apache-2.0
"""What selection costs beside a dense step, and what the attention probe costs inside one.

The choice is the selector alone: signals, ranking, plan. The whole stage ``select`` adds reading
the probe, the memory of what was computed when, and the report. The probe inside the step is
measured by a selector that recomputes everything, like dense, and reads all attention.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from vla_infoentropy_ros.bench.steps import FIRST_SEED, run_interleaved, solved_episode
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.selection import (
    SELECTORS,
    Selection,
    SelectionInput,
    SelectionSettings,
    Selector,
    build_selector,
)
from vla_infoentropy_ros.selection.dense import Dense
from vla_infoentropy_ros.session import Session

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
    parser.add_argument("--model", default="embedded", help="embedded, or a checkpoint folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    policy = load_policy(options.model, device=options.device)
    timed = {name: _Timed(build_selector(name)) for name in SELECTORS}
    sessions = {name: Session(policy, timed[name]) for name in SELECTORS}
    sessions |= {f"probe {layers}": Session(policy, _ProbedDense(layers)) for layers in _LAYERS}
    episodes = [solved_episode(FIRST_SEED + index) for index in range(options.episodes)]
    run_interleaved(sessions, episodes[:1])  # warm-up
    results = run_interleaved(sessions, episodes)

    totals = {name: np.median([step.latency_ms for step in steps if step.t])
              for name, steps in results.items()}
    dense = totals["dense"]
    print(f"dense step: {dense:.2f} ms\n"
          f"{'selector':18} {'choice ms':>9}  of a dense step   {'whole stage ms':>14}")
    for name in SELECTORS:
        choice = np.median(timed[name].spent_s) * 1e3
        stage = np.median([step.stages_ms["select"] for step in results[name] if step.t])
        print(f"{name:18} {choice:9.2f}  {choice / dense:15.1%}   {stage:14.2f}")
    print(f"{'probe of layers':18} {'added ms':>9}  of a dense step")
    for layers in _LAYERS:
        added = totals[f"probe {layers}"] - dense
        print(f"{layers:18} {added:9.2f}  {added / dense:6.1%}")
    return 0
