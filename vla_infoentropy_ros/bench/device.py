# SPDX-License-Identifier: Apache-2.0
"""All that is to be known of a device, in one call: a GPU is often lent for minutes.

Plain generation by transformers, dense and every selector, greedy and window: milliseconds by
stage, launches, memory, equality with dense in this number format, and the floor that the device's
own bandwidth and arithmetic, measured here, would allow. Random weights do for all of it:
``--model random:openvla-7b --device cuda --dtype bfloat16``; on a CPU ``random:openvla-7b/16``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_infoentropy_ros.bench.launches import (
    INSTRUCTION,
    counted,
    generate,
    moving_frames,
    table_of,
)
from vla_infoentropy_ros.bench.steps import (
    as_greedy,
    load_token_policy,
    machine_record,
    run_interleaved,
)
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.models.adapter import PolicyAdapter, TokenPolicy
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.selection import SELECTORS
from vla_infoentropy_ros.session import DECODE_MODES, StepResult
from vla_infoentropy_ros.variants import Variant

_REPEATS = 10
_CONTROLS = ("random", "stale")


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write everything as JSON where asked."""
    parser = argparse.ArgumentParser(prog="vla_infoentropy_ros bench device", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--frames", type=int, default=20, help="steps of every variant")
    parser.add_argument("--selectors", nargs="+", choices=SELECTORS,
                        default=[name for name in SELECTORS if name not in _CONTROLS])
    parser.add_argument("--out", help="write everything as JSON to this file, of a GPU "
                        "docs/results/device.json")
    add_load_arguments(parser)
    parser.set_defaults(model="random:openvla-7b/16")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    policy = load_token_policy(options)
    tables = measured(policy, options.selectors, options.frames)
    _print(tables)
    if options.out:
        record = machine_record("device", options, tables)
        Path(options.out).write_text(json.dumps(record, indent=2) + "\n")
    return 0


def measured(policy: TokenPolicy, selectors: Sequence[str], count: int) -> dict[str, Any]:
    """Every table, by its name."""
    device = policy.backbone.embed_tokens.weight.device
    frames = moving_frames(count)
    plain = generate(policy, frames[0])
    plain_ms = _median_ms(plain, device, _REPEATS)
    variants = [Variant(name, decode) for name in selectors for decode in DECODE_MODES]
    sessions = {str(variant): variant.session(policy) for variant in variants}
    run_interleaved(sessions, [(INSTRUCTION, frames[:2])])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    results = run_interleaved(sessions, [(INSTRUCTION, frames)])
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    roof = roofline(device, policy.decoder.dtype)
    weights = sum(each.numel() * each.element_size() for each in policy.decoder.parameters())
    rows = {name: _row(steps, weights, roof) for name, steps in results.items()}
    for variant in variants:
        if variant.decode != "greedy":
            rows[str(variant)] |= as_greedy(results[str(variant)], results[variant.selector])
    return {
        "generate_ms": plain_ms, "generate_launches": counted(plain).total, "variants": rows,
        "launches": table_of(policy, list(sessions)), "exactness": exactness(policy),
        "roofline": roof, "decoder_bytes": weights, "peak_memory_bytes": peak,
    }


def exactness(policy: PolicyAdapter) -> dict[str, Any]:
    """Hidden states of the text rows, this number format: a plan that recomputes everything twice
    over, and on the same picture plans that recompute a part, against the dense pass."""
    weight = policy.backbone.embed_tokens.weight
    with torch.inference_mode():
        visual = policy.embed_vision(policy.preprocess([moving_frames(1)[0]]).pixels)
        ids = policy.tokenize(INSTRUCTION).token_ids.to(weight.device)
        bos = torch.tensor([policy.bos_token_id], device=weight.device)
        sequence = torch.cat((weight[bos], visual, weight[ids]))[None]
        total = visual.shape[0]
        decoder = PartialDecoder(policy.backbone, policy.head.layout(total, len(ids)), ())
        dense = decoder.prefill(sequence, TokenPlan.dense(total, weight.device))
        found: dict[str, Any] = {"again_bit_for_bit": bool(torch.equal(
            decoder.prefill(sequence, TokenPlan.dense(total, weight.device)), dense))}
        for part in (total // 2, total // 8, 0):
            plan = TokenPlan.reuse(torch.arange(part, device=weight.device), total)
            error = (decoder.prefill(sequence, plan) - dense).abs().max()
            found[f"largest_error_{part}_fresh"] = float(error)
    return found


def roofline(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """What this device does with large operands: bytes/s of a copy, read and written, and FLOP/s
    of a matrix product."""
    gpu = device.type == "cuda"
    edge = 8192 if gpu else 1024
    one = torch.randn(edge, edge, device=device).to(dtype)
    product_s = _median_ms(lambda: one @ one, device, _REPEATS) / 1e3
    source = torch.zeros(2**30 if gpu else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = _median_ms(lambda: target.copy_(source), device, _REPEATS) / 1e3
    return {"flops_per_s": 2 * edge**3 / product_s, "bytes_per_s": 2 * source.numel() / copy_s}


def _row(steps: list[StepResult], weights: int, roof: dict[str, float]) -> dict[str, Any]:
    later = [step for step in steps if step.t > 0]
    passes = float(np.mean([step.decoder_passes for step in later]))
    flops = float(np.mean([step.flops for step in later]))
    return {
        "p50_ms": float(np.median([step.latency_ms for step in later])),
        "p95_ms": float(np.percentile([step.latency_ms for step in later], 95)),
        "stages_ms": {name: float(np.median([step.stages_ms[name] for step in later]))
                      for name in later[0].stages_ms},
        "passes": passes, "gflops": flops / 1e9,
        # Every pass reads the weights of the language model once.
        "floor_ms": 1e3 * max(passes * weights / roof["bytes_per_s"], flops / roof["flops_per_s"]),
    }


def _median_ms(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times[1:]))  # the first run warms up


def _print(tables: dict[str, Any]) -> None:
    print(f"transformers' generate, without vision: {tables['generate_ms']:.1f} ms, "
          f"{tables['generate_launches']:,} launches")
    print(f"{'variant':26} {'p50 ms':>8} {'p95':>8} {'floor':>8} {'passes':>7} {'launches':>9}  "
          "vision select prefill decode")
    for name, row in tables["variants"].items():
        parts = " ".join(f"{row['stages_ms'][part]:6.2f}" for part in
                         ("vision", "select", "prefill", "decode"))
        print(f"{name:26} {row['p50_ms']:8.2f} {row['p95_ms']:8.2f} {row['floor_ms']:8.2f} "
              f"{row['passes']:7.2f} {tables['launches'][name]['launches']:9,}  {parts}")
    for name in ("exactness", "roofline", "decoder_bytes", "peak_memory_bytes"):
        print(f"{name}: {tables[name]}")
