# SPDX-License-Identifier: Apache-2.0
"""Measurements, each a command: ``python -m vla_infoentropy_ros bench NAME``."""

from __future__ import annotations

import sys
from importlib import import_module

from vla_infoentropy_ros.demo.launching import NodeDiedError
from vla_infoentropy_ros.foreign.text import UserError

BENCHES = {
    "abuse": "bombs and nonsense at a moving robot: gaps, time to zero, memory",
    "arms": "episodes with an arm at the end: stand-ins of arms behind Servo or joint trajectories",
    "conditions": "patches that count as unchanged under noise, JPEG, exposure and shaking",
    "device": "everything about one device in one call: times, launches, memory, exactness",
    "episodes": "success in closed loop of every selector and option, on paired seeds",
    "flops": "true FLOPs and the papers' MACs of every preset, against the published totals",
    "flow": "what fewer Euler steps, and a start from the last chunk, do to actions of a flow",
    "gazebo": "episodes in Gazebo, by gazebo.launch.xml, and what stops the hand there",
    "launches": "kernels that one action launches, of each variant and of plain generation",
    "pace": "episodes with a policy slower than its control period: stretched, and held",
    "replay": "memory and time of a replay of ten minutes of a 640x480 camera at 30 Hz",
    "libero": "the papers' benchmark: every selector on equal initial states, with controls",
    "selection": "what selection and probe cost beside a dense step",
    "steps": "end-to-end milliseconds of every selector and decode mode, interleaved",
    "soak": "the node for half an hour: missed periods, memory, descriptors",
    "transport": "640x480 images at 30 Hz from node to node",
}


class MeasuringError(UserError, RuntimeError):
    """What was to be measured cannot be, or did not come."""


def main(argv: list[str]) -> int:
    """Dispatch to ``bench/NAME.py``; 1 with the reason where it stopped, 2 for an unknown name."""
    if argv and argv[0] in BENCHES:
        try:
            return int(import_module(f"vla_infoentropy_ros.bench.{argv[0]}").main(argv[1:]) or 0)
        except (UserError, NodeDiedError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    asked = f"unknown benchmark {argv[0]!r}\n" if argv and argv[0] not in ("-h", "--help") else ""
    lines = [f"  {name:10} {what}" for name, what in BENCHES.items()]
    print(f"{asked}usage: python -m vla_infoentropy_ros bench NAME [--help]\n" + "\n".join(lines))
    return 2 if asked else 0
