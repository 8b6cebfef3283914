# SPDX-License-Identifier: Apache-2.0
"""What fewer Euler steps do to the actions of a tabletop policy that acts by flow.

The dense policy drives; beside each of its steps the expert integrates the same noise over the same
prefix in other ways, and what they give is compared with many fine steps and with the scripted
expert that taught the policy. ``draft`` ways begin at a flow time between noise and actions, on the
rest of the last chunk, moved up by one action, mixed with noise. Beside that, what a stage costs,
in time of the thread's processor, which other programs on the machine disturb little.
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
from tqdm import tqdm

from vla_infoentropy_ros.argument_types import count, out_file, seed
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.steps import FIRST_SEED, load_for_tabletop
from vla_infoentropy_ros.engine.flow import FlowHead, integrate
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import Stage, TokenPlan
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.sim.tabletop import Tabletop

FINE_STEPS = 32


@dataclass(frozen=True)
class Way:
    """begins: flow time at which it begins, on noise mixed with the last chunk's rest; 1 for noise
    alone. steps: equal Euler steps from there to time 0."""

    begins: float
    steps: int

    @property
    def name(self) -> str:
        what = f"{self.steps} Euler step{'s' * (self.steps > 1)}"
        return what if self.begins == 1.0 else f"draft from {self.begins:g}, {what}"


FRESH = (256, 128, 64, 48, 32, 24)
"""Visual tokens of the passes over the prefix that are timed."""

WAYS = tuple(
    [Way(1.0, steps) for steps in (1, 2, 3, 4, 5, 8)]
    + [Way(begins, steps) for begins in (0.3, 0.5, 0.7) for steps in (1, 2)]
)


@dataclass(frozen=True)
class Difference:
    """Mean of the three axes, mm, of the first action and of the whole chunk, from many fine steps;
    of the first from the scripted expert; whether the gripper differs from these. ms: of the
    thread's processor."""

    first_mm: float
    chunk_mm: float
    gripper: float
    expert_mm: float
    expert_gripper: float
    ms: float


def main(argv: Sequence[str]) -> int:
    """Drive, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench flow", description=__doc__
    )
    parser.add_argument("--episodes", type=count, default=4)
    parser.add_argument("--first-seed", type=seed, default=FIRST_SEED)
    parser.add_argument("--out", type=out_file, help="write the table as JSON to this file")
    add_load_arguments(parser)
    parser.set_defaults(model="embedded_flow")
    options = parser.parse_args(argv)
    machine = record.machine()
    torch.set_num_threads(1)
    policy = load_for_tabletop(options)
    if not isinstance(policy.head, FlowHead):
        raise SystemExit(f"error: --model {options.model}: {policy.name} does not act by flow")
    differences: dict[str, list[Difference]] = {way.name: [] for way in WAYS}
    stages: dict[str, list[float]] = {}
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    for scene in tqdm(seeds, unit="ep"):
        for name, difference in _episode(policy, policy.head, scene, stages):
            differences[name].append(difference)
    table = {name: _mean(of) for name, of in differences.items()}
    stages_ms = {name: float(np.median(of)) for name, of in stages.items()}
    _print(table)
    print("CPU ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in stages_ms.items()))
    tables = {"ways": table, "stages_ms": stages_ms}
    record.write(options.out, record.of("flow", options, machine, tables))
    return 0


def _episode(
    policy: PolicyAdapter, head: FlowHead, seed: int, stages: dict[str, list[float]]
) -> Iterator[tuple[str, Difference]]:
    session = Session(policy, build_selector("dense"))
    last: torch.Tensor | None = None
    with Tabletop() as table:
        session.set_instruction(table.reset(seed).instruction)
        for t in range(table.max_steps):
            if table.success():
                return
            picture = table.render()
            result = session.step([picture])
            _time_stages(policy, session, picture, stages)
            taught, decoder = table.expert(), session.decoder
            noise = head.noise(t).to(decoder.device)
            with torch.inference_mode():
                fine = _actions(policy, integrate(head.expert, decoder, noise, FINE_STEPS))
                for way in WAYS:
                    if last is not None or way.begins == 1.0:
                        begun = time.thread_time()
                        chunk = _integrated(head, decoder, way, noise, last)
                        ms = (time.thread_time() - begun) * 1e3
                        yield way.name, _compared(_actions(policy, chunk), fine, taught, ms)
                last = integrate(head.expert, decoder, noise, head.steps)
            table.step(result.action.values)


def _time_stages(
    policy: PolicyAdapter, session: Session, picture: NDArray[np.uint8],
    stages: dict[str, list[float]],
) -> None:
    """Vision and prefix of the step just taken once more; its keys and values come out as before,
    since every token is as fresh as another."""
    decoder, embed = session.decoder, policy.backbone.embed_tokens
    words = policy.tokenize(session.instruction).token_ids.to(decoder.device)
    bos = torch.tensor([policy.bos_token_id], device=decoder.device)
    with torch.inference_mode():
        pixels = policy.preprocess([picture]).pixels
        begun = time.thread_time()
        visual = policy.embed_vision(pixels)
        stages.setdefault("vision", []).append((time.thread_time() - begun) * 1e3)
        prompt = torch.cat((embed(bos), visual, embed(words)))[None]
        for count in FRESH:
            fresh = torch.linspace(0, len(visual) - 1, count).round().long()
            plan = TokenPlan((Stage(0, fresh.to(decoder.device)),))
            begun = time.thread_time()
            decoder.fill(prompt, plan)
            ms = (time.thread_time() - begun) * 1e3
            stages.setdefault(f"prefix with {count} tokens", []).append(ms)


def _integrated(
    head: FlowHead, decoder: PartialDecoder, way: Way, noise: torch.Tensor,
    last: torch.Tensor | None,
) -> torch.Tensor:
    start = noise
    if last is not None:
        rest = torch.cat([last[:, 1:], last[:, -1:]], dim=1)
        start = way.begins * noise + (1.0 - way.begins) * rest
    return integrate(head.expert, decoder, start, way.steps, way.begins)


def _actions(policy: PolicyAdapter, chunk: torch.Tensor) -> NDArray[np.float64]:
    return policy.decode_action(chunk.flatten().tolist()).chunk


def _compared(
    ours: NDArray[np.float64], fine: NDArray[np.float64], taught: NDArray[np.float64], ms: float
) -> Difference:
    apart = np.abs(ours - fine)[:, :3] * 1e3
    is_open, fine_open, taught_open = (x > 0.5 for x in (ours[0, 6], fine[0, 6], taught[6]))
    return Difference(
        first_mm=float(apart[0].mean()), chunk_mm=float(apart.mean()),
        gripper=float(is_open != fine_open),
        expert_mm=float(np.abs(ours[0, :3] - taught[:3]).mean() * 1e3),
        expert_gripper=float(is_open != taught_open), ms=ms,
    )


def _mean(differences: Sequence[Difference]) -> dict[str, Any]:
    rows = np.array([[getattr(each, name) for name in Difference.__annotations__]
                     for each in differences])
    means = dict(zip(Difference.__annotations__, rows.mean(axis=0).tolist(), strict=True))
    return {"plans": len(rows)} | means | {"ms": float(np.median(rows[:, -1]))}


def _print(table: dict[str, dict[str, Any]]) -> None:
    print(f"{'':28} from {FINE_STEPS} steps: {'first':>8} {'chunk':>8} {'gripper':>8}   "
          f"from the scripted expert: {'first':>8} {'gripper':>8} {'CPU ms':>8}")
    for name, of in table.items():
        print(f"{name:28} {'':15} {of['first_mm']:5.2f} mm {of['chunk_mm']:5.2f} mm "
              f"{of['gripper']:8.1%} {'':26} {of['expert_mm']:7.2f} mm {of['expert_gripper']:7.1%} "
              f"{of['ms']:8.1f}")
