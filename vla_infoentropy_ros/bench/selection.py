# SPDX-License-Identifier: Apache-2.0
"""What selection costs beside a dense step, and what the attention probe costs inside one.

The choice is the selector alone: signals, ranking, plan, and what it prunes by the attention of
the pass it plans; in its place in a step, behind a model
that has filled the processor's caches, and by itself, again and again. The whole stage
``select`` adds reading the probe, the memory of what was computed when, and the report. The
probe inside the step is measured by a selector that recomputes everything, like dense, and reads
all attention.

Each runs in turn with dense alone, frame by frame: with more of them in turn each would find the
processor's caches full of the others' keys and pictures, as it never is on a robot.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.argument_types import count, out_file, workers
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.steps import (
    FIRST_SEED,
    load_asked,
    run_interleaved,
    solved_episode,
)
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
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

Episode = tuple[str, list[NDArray[np.uint8]]]
"""Instruction and frames."""

_LAYERS = ("all", "latter_half", "every_fourth")
_REPEATS = 200


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
        self.name, self.schedule = selector.name, selector.schedule
        self.reuses, self.prunes = selector.reuses, selector.prunes
        self.spent_s: list[float] = []
        self._given: SelectionInput | None = None
        self._pruned_by: torch.Tensor | None = None

    def needs(self, depth: int) -> AttentionNeeds:
        return self._selector.needs(depth)

    def select(self, given: SelectionInput) -> Selection:
        start = time.perf_counter()
        selection = self._selector.select(given)
        self.spent_s.append(time.perf_counter() - start)
        self._given = given
        plan = selection.plan
        if plan.pruning is None:
            return selection
        pruning = replace(plan.pruning, choose=partial(self._choose, plan.pruning.choose))
        return replace(selection, plan=replace(plan, pruning=pruning))

    def _choose(
        self, choose: Callable[[torch.Tensor], torch.Tensor], attention: torch.Tensor
    ) -> torch.Tensor:
        """What a pass in progress asks of the selector is a part of its choice."""
        start = time.perf_counter()
        kept = choose(attention)
        self.spent_s[-1] += time.perf_counter() - start
        self._pruned_by = attention
        return kept

    def alone_s(self) -> float:
        """The last choice once more, many times: their median, s."""
        given, first = self._given, len(self.spent_s)
        assert given is not None
        with torch.inference_mode():
            for _ in range(_REPEATS):
                pruning = self.select(given).plan.pruning
                if pruning is not None:
                    assert self._pruned_by is not None, "its step asked"
                    pruning.choose(self._pruned_by)
        return float(np.median(self.spent_s[first:]))


def main(argv: Sequence[str]) -> int:
    """Measure and print two tables: selection by selector, probe by layers."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros bench selection",
                                     description=__doc__)
    parser.add_argument("--episodes", type=count, default=3)
    parser.add_argument("--threads", type=workers, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=out_file, help="write the tables as JSON to this file")
    add_load_arguments(parser)
    options = parser.parse_args(argv)
    machine = record.machine()
    torch.set_num_threads(options.threads)
    policy = load_asked(options)
    names = list(_fitting(policy))
    episodes = [solved_episode(FIRST_SEED + index) for index in range(options.episodes)]
    tables = {
        "selectors": {name: _choice(policy, name, episodes) for name in names},
        "probes": {layers: _probe(policy, layers, episodes) for layers in _LAYERS},
    }
    _print(tables)
    record.write(options.out, record.of("selection", options, machine, tables))
    return 0


def _fitting(policy: PolicyAdapter) -> Iterator[str]:
    """Selectors that ``policy`` can run; the others are said."""
    for name in SELECTORS:
        try:
            Session(policy, build_selector(name))
        except SettingError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            yield name


def _choice(policy: PolicyAdapter, name: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """Medians of one selector, ms, and of the dense steps beside it."""
    selector = _Timed(build_selector(name))
    dense, steps = _beside_dense(policy, selector, episodes)
    dense_ms = float(np.median([step.latency_ms for step in dense]))
    choice_ms = float(np.median(selector.spent_s[-len(steps) :])) * 1e3
    stage_ms = float(np.median([step.stages_ms["select"] for step in steps]))
    return {
        "alone_ms": selector.alone_s() * 1e3, "choice_ms": choice_ms,
        "share": choice_ms / dense_ms, "stage_ms": stage_ms, "dense_ms": dense_ms,
    }


def _probe(policy: PolicyAdapter, layers: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """What a probe adds, ms: the median over frames of the difference to dense, so that a machine
    whose clock drifts does not drown it."""
    dense, steps = _beside_dense(policy, _ProbedDense(layers), episodes)
    dense_ms = float(np.median([step.latency_ms for step in dense]))
    pairs = zip(steps, dense, strict=True)
    added_ms = float(np.median([ours.latency_ms - base.latency_ms for ours, base in pairs]))
    return {"added_ms": added_ms, "share": added_ms / dense_ms, "dense_ms": dense_ms}


def _beside_dense(
    policy: PolicyAdapter, selector: Selector, episodes: Sequence[Episode]
) -> tuple[list[StepResult], list[StepResult]]:
    """Steps of dense and of ``selector``, without the first of an episode, which is dense."""
    sessions = {"dense": Session(policy, Dense()), "ours": Session(policy, selector)}
    run_interleaved(sessions, episodes[:1])  # warm-up
    results = run_interleaved(sessions, episodes)
    dense, ours = ([step for step in results[name] if step.t] for name in sessions)
    return dense, ours


def _print(tables: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"{'selector':18} {'alone ms':>9} {'in place ms':>11}  of a dense step   "
          f"{'whole stage ms':>14} {'dense step ms':>14}")
    for name, row in tables["selectors"].items():
        print(f"{name:18} {row['alone_ms']:9.2f} {row['choice_ms']:11.2f}  {row['share']:15.1%}   "
              f"{row['stage_ms']:14.2f} {row['dense_ms']:14.2f}")
    print(f"{'probe of layers':28} {'added ms':>11}  of a dense step")
    for name, row in tables["probes"].items():
        print(f"{name:28} {row['added_ms']:11.2f}  {row['share']:15.1%}   {'':14} "
              f"{row['dense_ms']:14.2f}")
