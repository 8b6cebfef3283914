# SPDX-License-Identifier: Apache-2.0
"""All that is to be known of a device, in one call: a GPU is often lent for minutes.

Plain generation by transformers, dense and every selector, greedy and window: milliseconds by
stage, launches, memory, equality with dense in this number format, and the floor that the device's
own bandwidth and arithmetic, measured here, would allow. Random weights do for all of it:
``--model random:openvla-7b --device cuda --dtype bfloat16``; on a CPU ``random:openvla-7b/16``.
The file is written anew after every round, so that a run that is cut leaves what it had.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.argument_types import many, out_file, positive, workers
from vla_infoentropy_ros.bench import gpu_trace, record
from vla_infoentropy_ros.bench.arguments import selector_name
from vla_infoentropy_ros.bench.launches import (
    add_policy_arguments,
    counted,
    generate,
    moving_frames,
    table_of,
)
from vla_infoentropy_ros.bench.roofline import median_ms, roofline
from vla_infoentropy_ros.bench.steps import as_greedy, load_token_policy
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import PolicyAdapter, TokenPolicy
from vla_infoentropy_ros.selection import SELECTORS
from vla_infoentropy_ros.session import DECODE_MODES, Session, StepResult
from vla_infoentropy_ros.variants import Variant

_WARM_UP = 2  # rounds: a dense step, and one that reuses
_CONTROLS = ("random", "stale")


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write everything as JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench device", description=__doc__
    )
    parser.add_argument("--threads", type=workers, default=1, help="CPU threads of torch")
    parser.add_argument("--frames", type=many, default=20, help="steps of every variant")
    parser.add_argument("--seconds", type=positive, default=600.0, help="begin no further round of "
                        "steps after so many (default: %(default)s)")
    parser.add_argument("--selectors", nargs="+", type=selector_name, metavar="NAME",
                        default=[name for name in SELECTORS if name not in _CONTROLS])
    parser.add_argument("--out", type=out_file, help="write everything as JSON to this "
                        "file, of a GPU docs/results/device.json")
    add_policy_arguments(parser)
    options = parser.parse_args(argv)
    if options.frames <= _WARM_UP:
        parser.error(f"--frames {options.frames}: give at least {_WARM_UP + 1}, the first "
                     f"{_WARM_UP} warm up")
    machine = record.machine()
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    policy = load_token_policy(options)
    all_found = record.of("device", options, machine, {"load_s": time.monotonic() - began})
    for found in measured(policy, options.instruction, options.selectors, options.frames,
                          options.seconds):
        all_found |= found
        record.write(options.out, all_found)
    return 0


def measured(
    policy: TokenPolicy, instruction: str, selectors: Sequence[str], frames: int,
    seconds: float = 600.0,
) -> Iterator[dict[str, Any]]:
    """Table after table by name, each printed, what matters most first; ``variants`` once a round
    of steps, printed at the end."""
    device = policy.backbone.embed_tokens.weight.device
    pictures = moving_frames(frames)
    roof = roofline(device, policy.decoder.dtype)
    weights = sum(each.numel() * each.element_size() for each in policy.decoder.parameters())
    yield _told({"roofline": roof, "decoder_bytes": weights})
    yield _told({"generate": generation(policy, instruction, pictures[0])})
    yield _told({"exactness": exactness(policy, instruction)})
    variants = [Variant(name, decode) for name in selectors for decode in DECODE_MODES]
    sessions = {str(variant): variant.session(policy) for variant in variants}
    for session in sessions.values():
        session.set_instruction(instruction)
    rows: dict[str, dict[str, Any]] = {}
    for timed in _rounds(sessions, pictures, seconds):
        rows = {name: _row(steps, weights, roof) for name, steps in timed.items()}
        for variant in variants:
            if variant.decode != "greedy":
                rows[str(variant)] |= as_greedy(
                    *([each.result for each in timed[name][_WARM_UP:]]
                      for name in (str(variant), variant.selector)))
        yield {"variants": rows}
    _print_rows(rows)
    if device.type == "cuda":
        still = pictures[-1]
        yield _told({"host_waits": {
            name: gpu_trace.host_waits(lambda s=session: s.step([still]))  # type: ignore[misc]
            for name, session in sessions.items()}})
        yield _told({"kernels": {
            name: gpu_trace.kernels(lambda s=session: s.step([still]))  # type: ignore[misc]
            for name, session in sessions.items()}})
    yield _told({"launches": {name: row["launches"] for name, row in
                              table_of(policy, instruction, list(sessions)).items()}})


@dataclass(frozen=True)
class Timed:
    """One step. wall_ms: on the host's clock, from the picture to the action. memory: the most
    bytes it took on the GPU beyond what it found taken; 0 on a CPU."""

    result: StepResult
    wall_ms: float
    memory: int


def _rounds(
    sessions: dict[str, Session], frames: Sequence[NDArray[np.uint8]], seconds: float
) -> Iterator[dict[str, list[Timed]]]:
    """Every session steps through ``frames`` in turns; what there is, once a round from the first
    that counts on."""
    steps: dict[str, list[Timed]] = {name: [] for name in sessions}
    began = time.monotonic()
    for number, frame in enumerate(frames):
        if number > _WARM_UP and time.monotonic() - began > seconds:
            print(f"--seconds {seconds:g}: ended after {number} of {len(frames)} rounds")
            return
        for name, session in sessions.items():
            steps[name].append(_timed(session, frame))
        if number >= _WARM_UP:
            yield steps


def _timed(session: Session, frame: NDArray[np.uint8]) -> Timed:
    gpu = session.policy.backbone.device.type == "cuda"
    taken = torch.cuda.memory_allocated() if gpu else 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    result = session.step([frame])
    wall_ms = (time.perf_counter() - began) * 1e3  # a step ends by reading back, so all is done
    return Timed(result, wall_ms, torch.cuda.max_memory_allocated() - taken if gpu else 0)


def generation(
    policy: TokenPolicy, instruction: str, frame: NDArray[np.uint8]
) -> dict[str, Any]:
    """transformers' own: ms of the language model, and of what comes before it; launches of the
    former; and how many of its tokens are those of a dense step here."""
    device = policy.backbone.device
    plain = generate(policy, frame, instruction)
    session = Variant("dense").session(policy)
    session.set_instruction(instruction)
    ours = session.step([frame]).action.token_ids

    @torch.inference_mode()
    def see() -> None:
        policy.embed_vision(policy.preprocess([frame]).pixels)

    theirs = plain()[0].tolist()
    return {
        "language_model_ms": median_ms(plain, device), "vision_ms": median_ms(see, device),
        "launches": counted(plain).total, "action_tokens": DOF,
        "same_tokens_as_dense": sum(a == b for a, b in zip(theirs, ours, strict=True)),
    }


def exactness(policy: PolicyAdapter, instruction: str) -> dict[str, Any]:
    """Hidden states of the text rows, this number format: a plan that recomputes everything twice
    over, and on the same picture plans that recompute a part, against the dense pass."""
    weight = policy.backbone.embed_tokens.weight
    with torch.inference_mode():
        visual = policy.embed_vision(policy.preprocess([moving_frames(1)[0]]).pixels)
        ids = policy.tokenize(instruction).token_ids.to(weight.device)
        bos = torch.tensor([policy.bos_token_id], device=weight.device)
        sequence = torch.cat((weight[bos], visual, weight[ids]))[None]
        total = visual.shape[0]
        decoder = PartialDecoder(policy.backbone, policy.head.layout(total, len(ids)), ())
        dense = decoder.prefill(sequence, TokenPlan.dense(total, weight.device))
        found: dict[str, Any] = {
            "again_bit_for_bit": bool(torch.equal(
                decoder.prefill(sequence, TokenPlan.dense(total, weight.device)), dense)),
            "largest_value": float(dense.abs().max()),
        }
        for part in (total // 2, total // 8, 0):
            plan = TokenPlan.reuse(torch.arange(part, device=weight.device), total)
            error = (decoder.prefill(sequence, plan) - dense).abs().max()
            found[f"largest_error_{part}_fresh"] = float(error)
    return found


def _row(timed: list[Timed], weights: int, roof: dict[str, float]) -> dict[str, Any]:
    later = timed[_WARM_UP:]
    steps = [each.result for each in later]
    walls = [each.wall_ms for each in later]
    passes = float(np.mean([step.decoder_passes for step in steps]))
    flops = float(np.mean([step.flops for step in steps]))
    return {
        "p50_ms": float(np.median(walls)), "p95_ms": float(np.percentile(walls, 95)),
        "stages_ms": {name: float(np.median([step.stages_ms[name] for step in steps]))
                      for name in steps[0].stages_ms},
        "passes": passes, "fresh": float(np.mean([step.report.fresh for step in steps])),
        "gflops": flops / 1e9, "steps": len(steps),
        "step_memory_bytes": max(each.memory for each in later),
        # Every pass reads the weights of the language model once.
        "floor_ms": 1e3 * max(passes * weights / roof["bytes_per_s"], flops / roof["flops_per_s"]),
    }


def _told(tables: dict[str, Any]) -> dict[str, Any]:
    for name, table in tables.items():
        print(f"{name}: {table}", flush=True)
    return tables


def _print_rows(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'variant':26} {'p50 ms':>8} {'p95':>8} {'floor':>8} {'passes':>7} {'fresh':>6}  "
          "vision select prefill decode")
    for name, row in rows.items():
        parts = " ".join(f"{row['stages_ms'][part]:6.2f}" for part in
                         ("vision", "select", "prefill", "decode"))
        print(f"{name:26} {row['p50_ms']:8.2f} {row['p95_ms']:8.2f} {row['floor_ms']:8.2f} "
              f"{row['passes']:7.2f} {row['fresh']:6.1f}  {parts}", flush=True)
