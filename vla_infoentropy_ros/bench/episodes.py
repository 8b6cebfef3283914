# SPDX-License-Identifier: Apache-2.0
"""Success in closed loop on the tabletop, without middleware: many episodes, paired seeds.

``--model`` takes any policy of the tabletop, those that act by flow included; of a chunk
``--execute`` actions are carried out before the next is asked for. Every variant plays every seed.
With ``--instructions`` an episode is a long horizon: once an instruction is carried out the next is
given, with scene and hand as they are then, and success is all of them in their order.
What a method gains is counted against dense on equal seeds and under the same disturbance of the
camera; `random` and `stale` are there to show that choosing matters. With ``--log`` a run that
ended early goes on where it stood.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields, replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.argument_types import count, keep_apart, out_file, seed, workers
from vla_infoentropy_ros.bench import MeasuringError, record
from vla_infoentropy_ros.bench.conditions import CONDITIONS, disturbed
from vla_infoentropy_ros.bench.spreading import pin_of, spread
from vla_infoentropy_ros.bench.steps import FIRST_SEED, load_for_tabletop
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import LoadOptions, add_load_arguments
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.success_rates import mean_interval, sign_test, wilson_interval
from vla_infoentropy_ros.variants import Variant


@dataclass(frozen=True)
class Row:
    """A variant, the settings and session options in which it differs from the defaults, and what
    disturbs its camera, of `bench.conditions`."""

    variant: str
    schedule: str = "linear"
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    condition: str = "clean"

    def session(self, policy: PolicyAdapter) -> Session:
        """A session that runs ``policy`` so."""
        settings = replace(SelectionSettings(), **self.settings)
        session = Variant.parse(self.variant).session(policy, self.schedule, settings)
        session.set_options(replace(session.options, **self.options))
        return session


def _drift(tokens: int, **settings: Any) -> Row:
    """attention_drift with a budget of ``tokens``."""
    return Row("attention_drift", settings={"fresh_tokens": tokens, **settings})


def _drafted(row: Row, **options: Any) -> Row:
    """The same with drafts."""
    return replace(row, variant=f"{row.variant}+window", options=options)


ROWS = {
    "dense": Row("dense"),
    "info_entropy": Row("info_entropy"),
    "info_entropy adaptive": Row("info_entropy", "adaptive"),
    "info_entropy half_drift 32": Row(
        "info_entropy", settings={"form": "half_drift", "fresh_tokens": 32}),
    "vla_cache": Row("vla_cache"),
    "vla_pruner 128": Row("vla_pruner"),
    "fastv 128": Row("fastv"),
    "fastv 64": Row("fastv", settings={"prune_ratio": 0.75}),
    "attention_drift 128": _drift(128),
    "attention_drift 112": _drift(112),
    "attention_drift 64": _drift(64),
    "attention_drift 64 window": _drafted(_drift(64)),
    "attention_drift 48": _drift(48),
    "attention_drift 48 window": _drafted(_drift(48)),
    **{
        f"attention_drift 48 window, within {bins} bins": _drafted(_drift(48), accept_bins=bins)
        for bins in (2, 4, 8)
    },
    "attention_drift 40": _drift(40),
    "attention_drift 32": _drift(32),
    "attention_drift 24": _drift(24),
    # The score is spread wide: 64 tokens hold less than half, so more coverage is 64 throughout.
    "attention_drift adaptive": replace(_drift(64, coverage=0.4), schedule="adaptive"),
    "attention_drift 32, age 10": _drift(32, age_limit=10),
    **{
        f"attention_drift {tokens}, keyframe {every}": _drift(tokens, keyframe_every=every)
        for tokens, every in ((32, 10), (96, 10), (64, 4), (48, 4), (32, 8))
    },
    # Everything or nothing: the picture of a whole cache is as old as its last keyframe.
    "everything every 2nd step": Row("stale", settings={"keyframe_every": 2}),
    "everything every 3rd step": Row("stale", settings={"keyframe_every": 3}),
    **{
        f"{name}, {steps} Euler step{'s' * (steps > 1)}": replace(
            row, options={"euler_steps": steps})
        for name, row in (("dense", Row("dense")), ("attention_drift 48", _drift(48)),
                          ("attention_drift 32", _drift(32)))
        for steps in (1, 2, 4)
    },
    # Nats; fires at about one step in thirty.
    "attention_drift 32, gate 2.9": replace(_drift(32), options={"entropy_gate": 2.9}),
    "attention_drift 24, top-up 32": _drift(24, top_up_to=32),
    "attention_drift 48, action rows": _drift(48, drift_rows="text_and_action"),
    "attention_drift 32, action rows": _drift(32, drift_rows="text_and_action"),
    "attention_drift 48, expert rows": _drift(48, drift_rows="action"),
    "attention_drift 32, expert rows": _drift(32, drift_rows="action"),
    # The drift itself, the default of version 0.2.0, where its root is now.
    "attention_drift 64, linear": _drift(64, drift_exponent=1.0),
    "attention_drift 64 window, linear": _drafted(_drift(64, drift_exponent=1.0)),
    "attention_drift 48, linear": _drift(48, drift_exponent=1.0),
    **{
        f"random {tokens}": Row("random", settings={"fresh_tokens": tokens})
        for tokens in (64, 48, 32)
    },
    "stale": Row("stale"),
}
# The static test of the papers compares single pixels; ours compares means of blocks.
_DISTURBED = {
    "dense": Row("dense"),
    "info_entropy": Row("info_entropy"),
    "info_entropy, pixels": Row("info_entropy", settings={"patch_block": 1}),
    "vla_cache": Row("vla_cache"),
    "vla_cache, pixels": Row("vla_cache", settings={"patch_block": 1}),
    "attention_drift 64": _drift(64),
    "attention_drift 64, linear": _drift(64, drift_exponent=1.0),
    "attention_drift 48": _drift(48),
}
ROWS |= {
    f"{name}, {condition}": replace(row, condition=condition)
    for condition in CONDITIONS if condition != "clean"
    for name, row in _DISTURBED.items()
}
_tables: dict[str, Any] = {}  # per worker process: simulator and policy, made once


Plan = tuple[int, int]
"""Tokens that were recomputed, and forward passes of the language model."""


class Outcome(NamedTuple):
    """Of one episode: instructions carried out, steps, mean tokens recomputed after the first
    plan (those after a new instruction count: they are a price of it), and mean forward passes of
    the language model in a plan."""

    solved: int
    steps: int
    fresh: float
    passes: float


class Job(NamedTuple):
    """One episode: ``execute`` actions of every chunk, ``instructions`` in a row."""

    row: str
    seed: int
    model: str
    load: LoadOptions
    execute: int
    instructions: int = 1


def main(argv: Sequence[str]) -> int:
    """Play, print a table, and write it as JSON where asked."""
    parser = _parser()
    options = parser.parse_args(argv)
    keep_apart(parser, options, "log", "out")
    machine = record.machine()
    policy = load_for_tabletop(options)
    rows = options.rows or [row for row in ROWS if not _misfit(row_of(row), policy)]
    _check(options, rows, policy)
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    keys = {row: _key(row, policy, options) for row in rows}
    played = dict(episode_log.finished(options.log, _logged))
    load = LoadOptions.from_arguments(options)
    if options.scheduler:
        load = replace(load, revision=load.revision or pin_of(policy.revision))
    todo = {  # one of rows that are one, by two names
        (keys[row], seed): Job(row, seed, options.model, load, options.execute,
                               options.instructions)
        for seed in seeds for row in rows if (keys[row], seed) not in played
    }
    jobs = list(todo.values())
    for job, outcome in tqdm(_ended(jobs, options), total=len(jobs), unit="ep"):
        played[keys[job.row], job.seed] = outcome
        episode_log.add(options.log, [keys[job.row], job.seed, outcome])
    outcomes = {row: [played[keys[row], seed] for seed in seeds] for row in rows}
    table = {
        row: asdict(row_of(row))
        | _figures(of_row, outcomes.get(_dense_beside(row)), options.instructions)
        for row, of_row in outcomes.items()
    }
    _print(table)
    record.write(options.out, record.of("episodes", options, machine, {"rows": table}))
    return 0


def _ended(jobs: list[Job], options: argparse.Namespace) -> Iterator[tuple[Job, Outcome]]:
    """Each job and how it ended, played by processes here or by a scheduler's workers."""
    if options.scheduler:
        yield from spread(options.scheduler, _play, jobs, lambda job: f"{job.row}: seed {job.seed}")
        return
    spawn = get_context("spawn")  # a forked renderer would share its context
    try:
        with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
            yield from zip(jobs, pool.map(_play, jobs), strict=True)
    except BrokenProcessPool as error:
        kept = (f"what is finished is kept in {options.log}, the same command goes on"
                if options.log else "with --log what is finished would have been kept")
        raise MeasuringError("a worker process died, or the system ended it for its memory: give "
                             f"fewer --workers; {kept}") from error


def row_of(name: str) -> Row:
    """A row of `ROWS`, else what the name says by itself: a variant. Raises SettingError."""
    return ROWS.get(name) or Row(str(Variant.parse(name)))


def named(row_of: Callable[[str], object]) -> Callable[[str], str]:
    """For argparse: takes a text that ``row_of`` knows."""

    def row_name(text: str) -> str:
        try:
            row_of(text)
        except SettingError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no row, nor a variant: {error}") from error
        return text

    return row_name


def _check(options: argparse.Namespace, rows: Sequence[str], policy: PolicyAdapter) -> None:
    """End the command with one sentence where ``policy`` cannot be run so."""
    for row in rows:
        if reason := _misfit(row_of(row), policy):
            raise SystemExit(f"error: row {row!r}: {reason}")
    horizon = policy.head.horizon
    if not 1 <= options.execute <= horizon:
        raise SystemExit(f"error: --execute {options.execute}: must be in 1..{horizon}, the "
                         "actions in a chunk of this policy")


def _misfit(row: Row, policy: PolicyAdapter) -> str:
    """Why ``policy`` cannot be run so, or ""."""
    try:
        row.session(policy)
    except SettingError as error:
        return str(error)
    return ""


def _key(row: str, policy: PolicyAdapter, options: argparse.Namespace) -> str:
    """What a row plays, so that a log of other settings, or other defaults, is not taken for it.
    The revision is of the bytes, however it was asked for."""
    loaded = {entry.name: value for entry in fields(LoadOptions)
              if (value := getattr(options, entry.name)) != entry.default
              and entry.name != "revision"}
    settings = asdict(replace(SelectionSettings(), **row_of(row).settings))
    of = {**asdict(row_of(row)), "settings": settings, "policy": policy.revision,
          "execute": options.execute, "instructions": options.instructions,
          **({"loaded": loaded} if loaded else {})}
    return json.dumps(of, sort_keys=True)


def _logged(line: Any) -> tuple[tuple[str, int], Outcome]:
    """What a line of the log holds. Raises TypeError, ValueError."""
    key, seed, outcome = line
    return (key, seed), Outcome(*outcome)


def _dense_beside(row: str) -> str:
    """The row of dense under the same condition."""
    condition = row_of(row).condition
    return "dense" if condition == "clean" else f"dense, {condition}"


def _play(job: Job) -> Outcome:
    if "table" not in _tables:
        torch.set_num_threads(1)
        _tables["table"] = Tabletop()
    if _tables.get("of") != (job.model, job.load):  # a scheduler's workers outlive a run
        _tables.update(of=(job.model, job.load), policy=load_policy(job.model, job.load))
    table, session = _tables["table"], row_of(job.row).session(_tables["policy"])
    plans: list[Plan] = []
    solved = steps = 0
    for instruction in table.reset(job.seed).in_a_row(job.instructions):
        session.set_instruction(instruction)
        steps = _follow(instruction, job, table, session, steps, plans)
        if not table.success(instruction):
            break
        solved += 1
    fresh, passes = zip(*plans, strict=True)
    return Outcome(solved, steps, float(np.mean(fresh[1:] or fresh)), float(np.mean(passes)))


def _follow(instruction: str, job: Job, table: Tabletop, session: Session, steps: int,
            plans: list[Plan]) -> int:
    """Steps of the episode when ``instruction`` is carried out or its time is up."""
    limit = steps + table.max_steps
    while steps < limit and not table.success(instruction):
        picture = disturbed(table.render(), row_of(job.row).condition, job.seed, steps)
        result = session.step([picture])
        plans.append((result.report.fresh, result.decoder_passes))
        for action in result.action.chunk[: job.execute]:
            table.step(action)
            steps += 1
            if steps == limit or table.success(instruction):
                break
    return steps


def _figures(
    played: list[Outcome], dense: list[Outcome] | None, instructions: int
) -> dict[str, Any]:
    """Success is all ``instructions`` of an episode; ``solved``: episodes that carried out at
    least the first, the first two, ...; ``steps_beyond_dense_ci95``: of the pairs, failed episodes
    with all their steps."""
    wins = [each.solved == instructions for each in played]
    figures: dict[str, Any] = {
        "successes": sum(wins), "episodes": len(played),
        "success_ci95": wilson_interval(sum(wins), len(played)),
        "steps_mean": float(np.mean([each.steps for each in played])),
        "fresh_mean": float(np.mean([each.fresh for each in played])),
        "passes_mean": float(np.mean([each.passes for each in played])),
    }
    if instructions > 1:
        figures["solved"] = [sum(each.solved >= count for each in played)
                             for count in range(1, instructions + 1)]
    if dense is not None:
        pairs = list(zip(wins, (each.solved == instructions for each in dense), strict=True))
        gained = sum(ours and not base for ours, base in pairs)
        lost = sum(base and not ours for ours, base in pairs)
        figures |= {"won_against_dense": gained, "lost_against_dense": lost,
                    "sign_test_p": sign_test(gained, lost)}
        if len(played) > 1:
            further = [ours.steps - base.steps for ours, base in zip(played, dense, strict=True)]
            figures["steps_beyond_dense_ci95"] = mean_interval(further)
    return figures


def _print(table: dict[str, dict[str, Any]]) -> None:
    print(f"{'row':34} {'success':>9} {'95 %':>10} {'steps':>6} {'fresh':>6} {'passes':>6}  "
          "won/lost against dense")
    for row, of in table.items():
        low, high = of["success_ci95"]
        pairs = (f"{of['won_against_dense']}/{of['lost_against_dense']} (p = "
                 f"{of['sign_test_p']:.2f})" if "won_against_dense" in of else "")
        stages = f"  by instruction {of['solved']}" if "solved" in of else ""
        print(f"{row:34} {of['successes']:4}/{of['episodes']:<4} {low:4.0%}-{high:4.0%} "
              f"{of['steps_mean']:6.1f} {of['fresh_mean']:6.1f} {of['passes_mean']:6.2f}  "
              f"{pairs}{stages}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros bench episodes",
                                     description=__doc__)
    parser.add_argument("--episodes", type=count, default=100, help="seeds, each by every row")
    known = "; ".join(ROWS).replace("%", "%%")  # argparse formats its help
    parser.add_argument("--rows", nargs="+", type=named(row_of), metavar="ROW",
                        help="which rows (default: all of these): a selector of a plug-in, with "
                        f"+window if so wanted, or of {known}")
    parser.add_argument("--log", type=out_file,
                        help="append each episode to this file, and skip those in it")
    parser.add_argument("--first-seed", type=seed, default=FIRST_SEED,
                        help="the other seeds follow (default: %(default)s)")
    parser.add_argument("--execute", type=int, default=1,
                        help="actions of a chunk that are carried out (default: %(default)s)")
    parser.add_argument("--instructions", type=int, choices=(1, 2, 3), default=1,
                        help="given one after the other in each episode (default: %(default)s)")
    parser.add_argument("--workers", type=workers, default=2, help="processes")
    parser.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT",
                        help="of dask.distributed: its workers play, instead of --workers here; "
                        "with --log, what is finished is kept")
    parser.add_argument("--out", type=out_file, help="write the table as JSON to this file")
    add_load_arguments(parser)
    return parser
