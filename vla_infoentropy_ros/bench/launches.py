# SPDX-License-Identifier: Apache-2.0
"""Kernels that one action launches: eager PyTorch at batch 1 is bound by them on a GPU.

Every operator counts that computes something; views and empty memory do not. The count depends
on depths, not on widths, so that the 7B model's is had on a CPU: ``random:openvla-7b/16``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from vla_infoentropy_ros.argument_types import out_file, workers
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.steps import load_token_policy
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import TokenPolicy
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.variants import Variant

INSTRUCTION = "put the red cube on the white plate"
"""Unless another is asked for; in the words of every policy that is shipped."""
_VARIANTS = ("dense", "dense+window", "info_entropy", "vla_cache", "vla_pruner",
             "attention_drift", "attention_drift+window")
_SHOWN = 8  # most frequent operators of a row


class Launches(TorchDispatchMode):
    """Counts the operators that compute, by name, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        view = any(
            returned.alias_info is not None and not returned.alias_info.is_write
            for returned in func._schema.returns
        )
        name = func.overloadpacket.__name__
        if not view and not name.startswith("empty"):
            self.by_name[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return self.by_name.total()


def counted(run: Callable[[], object]) -> Launches:
    """What ``run`` launches."""
    launches = Launches()
    with launches:
        run()
    return launches


def moving_frames(count: int, edge: int = 224) -> list[NDArray[np.uint8]]:
    """A still random scene of ``edge`` px in which one block moves by 4 px a frame."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (edge // 14, edge // 14, 3)), np.ones((14, 14, 1)))
    frames = []
    for number in range(count):
        frame = scene.astype(np.uint8)
        left = 4 * number % (edge - 28)
        frame[edge // 2 : edge // 2 + 28, left : left + 28] = (200, 30, 30)
        frames.append(frame)
    return frames


def generate(
    policy: TokenPolicy, frame: NDArray[np.uint8], instruction: str
) -> Callable[[], torch.Tensor]:
    """transformers' own greedy generation of an action, picture and text embedded already."""
    model: Any = policy.decoder  # `generate` is typed for another kind of self
    embed = model.model.embed_tokens
    device = embed.weight.device
    with torch.inference_mode():
        visual = policy.embed_vision(policy.preprocess([frame]).pixels)
        ids = policy.tokenize(instruction).token_ids.to(device)
        bos = torch.tensor([policy.bos_token_id], device=device)
        sequence = torch.cat((embed(bos), visual, embed(ids)))[None]
    mask = torch.ones(sequence.shape[:2], dtype=torch.int64, device=device)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        found: torch.Tensor = model.generate(
            inputs_embeds=sequence, attention_mask=mask, do_sample=False, pad_token_id=0,
            eos_token_id=None, max_new_tokens=DOF,
        )
        return found

    return run


def main(argv: Sequence[str]) -> int:
    """Count, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros bench launches",
                                     description=__doc__)
    parser.add_argument("--threads", type=workers, default=1, help="CPU threads of torch")
    parser.add_argument("--out", type=out_file, help="write the table as JSON to this file")
    add_policy_arguments(parser)
    options = parser.parse_args(argv)
    machine = record.machine()
    torch.set_num_threads(options.threads)
    table = table_of(load_token_policy(options), options.instruction)
    print(f"{'one action':30} {'launches':>9} {'passes':>7}  most frequent")
    for name, row in table.items():
        frequent = ", ".join(f"{operator} {count}" for operator, count in row["operators"])
        print(f"{name:30} {row['launches']:9,} {row['passes']:7}  {frequent}")
    record.write(options.out, record.of("launches", options, machine, {"variants": table}))
    return 0


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """What `load_token_policy` reads: the policy, and the instruction it is given."""
    parser.add_argument("--instruction", default=INSTRUCTION,
                        help="that the policy is given (default: %(default)s)")
    add_load_arguments(parser)
    parser.set_defaults(model="random:openvla-7b/16")


def table_of(
    policy: TokenPolicy, instruction: str, variants: Sequence[str] = _VARIANTS
) -> dict[str, Any]:
    """Launches of transformers' generation, language model alone, and of a step of each variant.

    The step is one in which the picture does not change after a warm-up: a draft holds.
    """
    frame = moving_frames(1)[0]
    run = generate(policy, frame, instruction)
    run()
    table = {"generate (no vision)": _row(counted(run), DOF)}
    for name in variants:
        session = Variant.parse(name).session(policy)
        session.set_instruction(instruction)
        for _ in range(4):  # vla_pruner prunes from its fourth step on
            session.step([frame])
        results: list[Any] = []
        launches = counted(lambda s=session, r=results: r.append(s.step([frame])))  # type: ignore[misc]
        table[name] = _row(launches, results[0].decoder_passes)
    return table


def _row(launches: Launches, passes: int) -> dict[str, Any]:
    return {"launches": launches.total, "passes": passes,
            "operators": launches.by_name.most_common(_SHOWN)}
