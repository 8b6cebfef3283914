# SPDX-License-Identifier: Apache-2.0
"""End-to-end milliseconds of every selector and decode mode on one episode of the tabletop.

All variants see the same frames, one after the other frame by frame, so that whatever the
machine does in between meets all alike; ratios are taken within this one run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vla_infoentropy_ros.argument_types import count, out_file, workers
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.arguments import selector_name
from vla_infoentropy_ros.bench.random_policy import RandomPolicy, is_random
from vla_infoentropy_ros.engine.heads import TokenHead
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.models import loading
from vla_infoentropy_ros.models.adapter import PolicyAdapter, TokenPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions, add_load_arguments
from vla_infoentropy_ros.session import DECODE_MODES, Session, StepResult
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.variants import Variant

FIRST_SEED = 1_000_000


def main(argv: Sequence[str]) -> int:
    """Measure, print a table, and write it as JSON where asked."""
    options = _parser().parse_args(argv)
    machine = record.machine()
    torch.set_num_threads(options.threads)
    policy = load_for_tabletop(options)
    episodes = [solved_episode(FIRST_SEED + index) for index in range(options.episodes)]
    variants = [
        Variant(name, decode) for name in options.selectors for decode in options.decode
    ]
    sessions = {str(variant): variant.session(policy) for variant in variants}
    for session in sessions.values():
        if session.options.decode == "window":
            session.set_options(replace(session.options, accept_bins=options.accept_bins))
    run_interleaved(sessions, episodes[:1])  # warm-up
    results = run_interleaved(sessions, episodes)
    first = next(iter(results.values()))
    table = {name: _row(steps, first) for name, steps in results.items()}
    for variant in variants:
        greedy = results.get(variant.selector)
        if variant.decode != "greedy" and greedy is not None:
            table[str(variant)] |= as_greedy(results[str(variant)], greedy)
    _print(table)
    tables = {"variants": table}
    record.write(options.out, record.of("steps", options, machine, tables))
    return 0


def load_asked(options: argparse.Namespace) -> PolicyAdapter:
    """The policy that the flags name, random weights of a shape as well, or the end of the command
    with one sentence."""
    try:
        if is_random(options.model):
            return RandomPolicy(options.model, LoadOptions.from_arguments(options))
        return loading.load_asked(options)
    except (UserError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def load_for_tabletop(options: argparse.Namespace) -> PolicyAdapter:
    """`load_asked`, for what plays on the tabletop, which has one camera and tells no state."""
    policy = load_asked(options)
    if policy.views != 1 or policy.proprioception is not None:
        state = "" if policy.proprioception is None else " and the robot's state"
        raise SystemExit(
            f"error: --model {options.model}: {policy.name} takes {policy.views} picture(s){state}"
            ", and the tabletop gives one picture; play a recording to it (replay)"
        )
    return policy


def load_token_policy(options: argparse.Namespace) -> TokenPolicy:
    """`load_asked`, for what compares with transformers' own generation of tokens; the end of the
    command as well where the policy does not take ``options.instruction``."""
    policy = load_asked(options)
    if not isinstance(policy.head, TokenHead):
        raise SystemExit(f"error: {policy.name} has no action tokens, which this command counts")
    try:
        policy.tokenize(options.instruction)
    except UserError as error:
        raise SystemExit(f"error: --instruction: {error}") from error
    return cast(TokenPolicy, policy)


def run_interleaved(
    sessions: dict[str, Session], episodes: Sequence[tuple[str, list[NDArray[np.uint8]]]]
) -> dict[str, list[StepResult]]:
    """Every session over the same episodes, taking turns at each frame."""
    results: dict[str, list[StepResult]] = {name: [] for name in sessions}
    with tqdm(total=sum(len(frames) for _, frames in episodes), unit="frame") as bar:
        for instruction, frames in episodes:
            for session in sessions.values():
                session.set_instruction(instruction)
                session.reset("new_episode")
            for frame in frames:
                for name, session in sessions.items():
                    results[name].append(session.step([frame]))
                bar.update()
    return results


def solved_episode(seed: int) -> tuple[str, list[NDArray[np.uint8]]]:
    """Instruction and frames of the expert's solution."""
    frames: list[NDArray[np.uint8]] = []
    with Tabletop() as table:
        task = table.reset(seed)
        while len(frames) < table.max_steps and not table.success():
            frames.append(table.render())
            table.step(table.expert())
    return task.instruction, frames


def _row(steps: list[StepResult], first: list[StepResult]) -> dict[str, object]:
    """Figures of one variant; ``first``: the steps of the first variant, on the same frames."""
    pairs = _later(steps, first)
    later = [ours for ours, _ in pairs]
    stages = later[0].stages_ms
    return {
        "p50_ms": _median(step.latency_ms for step in later),
        "p95_ms": float(np.percentile([step.latency_ms for step in later], 95)),
        "stages_ms": {name: _median(step.stages_ms[name] for step in later) for name in stages},
        "fresh": statistics.fmean(step.report.fresh for step in later),
        "passes": statistics.fmean(step.decoder_passes for step in later),
        "gflops": statistics.fmean(step.flops for step in later) / 1e9,
        "papers_gmacs": statistics.fmean(step.macs for step in later) / 1e9,
        "same_actions": statistics.fmean(
            np.array_equal(ours.action.chunk, base.action.chunk) for ours, base in pairs),
        "steps": len(later),
    }


def _later(
    steps: list[StepResult], others: list[StepResult]
) -> list[tuple[StepResult, StepResult]]:
    """Pairs on the same frames without the first of an episode, which is dense whatever runs."""
    return [(ours, other) for ours, other in zip(steps, others, strict=True) if ours.t > 0]


def as_greedy(steps: list[StepResult], greedy: list[StepResult]) -> dict[str, object]:
    """Shares of steps that give the tokens, and that make the plan, of the same selector decoded
    greedily on the same frames; in float32 both are 1."""
    pairs = _later(steps, greedy)
    return {
        "tokens_as_greedy": statistics.fmean(
            ours.action.token_ids == base.action.token_ids for ours, base in pairs),
        "plans_as_greedy": statistics.fmean(
            bool((ours.report.reasons == base.report.reasons).all()) for ours, base in pairs),
    }


def _median(values: object) -> float:
    return float(np.median(list(values)))  # type: ignore[call-overload]


def _print(table: dict[str, dict[str, object]]) -> None:
    base = float(next(iter(table.values()))["p50_ms"])  # type: ignore[arg-type]
    print(f"{'variant':26} {'p50 ms':>7} {'p95':>7} {'x':>5} {'fresh':>6} {'passes':>6} "
          f"{'GFLOP':>6} {'GMAC':>6} {'same':>5}  vision select prefill decode")
    for name, row in table.items():
        stages: dict[str, float] = row["stages_ms"]  # type: ignore[assignment]
        parts = " ".join(f"{stages[part]:6.2f}" for part in
                         ("vision", "select", "prefill", "decode"))
        p50: float = row["p50_ms"]  # type: ignore[assignment]
        print(f"{name:26} {p50:7.2f} {row['p95_ms']:7.2f} {base / p50:5.2f} "
              f"{row['fresh']:6.1f} {row['passes']:6.2f} {row['gflops']:6.2f} "
              f"{row['papers_gmacs']:6.2f} {row['same_actions']:5.0%}  {parts}")
    print(f"same: share of steps whose actions are those of {next(iter(table))}")
    for name, row in table.items():
        if "tokens_as_greedy" in row:
            print(f"{name}: tokens as decoded greedily in {row['tokens_as_greedy']:.1%} of steps, "
                  f"plans in {row['plans_as_greedy']:.1%}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench steps", description=__doc__
    )
    parser.add_argument("--threads", type=workers, default=1, help="CPU threads of torch")
    parser.add_argument("--episodes", type=count, default=3)
    parser.add_argument("--accept-bins", type=int, default=0,
                        help="session.accept_bins where decode is window (default: %(default)s)")
    parser.add_argument("--selectors", nargs="+", type=selector_name, metavar="NAME",
                        default=["dense", "info_entropy", "vla_cache", "vla_pruner",
                                 "attention_drift"])
    parser.add_argument("--decode", nargs="+", choices=DECODE_MODES,
                        default=list(DECODE_MODES))
    parser.add_argument("--out", type=out_file, help="write the table as JSON to this file")
    add_load_arguments(parser)
    return parser
