# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros COMMAND``: what needs no launch file."""

from __future__ import annotations

import sys
from importlib import import_module

from vla_infoentropy_ros.engine.requirements import RequirementError, check_transformers
from vla_infoentropy_ros.extras import missing
from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.interrupting import interruptible

COMMANDS = {
    "demo": ("vla_infoentropy_ros.demo", "simulated robot and policy node, with a report"),
    "replay": ("vla_infoentropy_ros.replay", "a bag through two selectors, compared"),
    "selftest": ("vla_infoentropy_ros.selftest", "does a checkpoint see, and act sanely?"),
    "tiny": ("vla_infoentropy_ros.models.openvla.tiny", "a checkpoint to try commands on"),
    "cuttest": ("vla_infoentropy_ros.cuttest", "how much of a picture may be reused"),
    "doctor": ("vla_infoentropy_ros.doctor", "what is in use here, and what is wrong with it"),
    "operate": ("vla_infoentropy_ros.operate", "enable, instruct, clear a fault; needs no ros2"),
    "serve": ("vla_infoentropy_ros.serve", "a policy for evaluators and robots elsewhere"),
    "bench": ("vla_infoentropy_ros.bench", "measurements"),
    "train": ("vla_infoentropy_ros.training.__main__", "the embedded policy from scratch"),
}

_WITHOUT_POLICY = ("doctor", "operate")  # the first tells it among other things


def main(argv: list[str]) -> int:
    """Dispatch to a command's ``main(argv) -> int``; 2 for an unknown one, 130 after an interrupt
    that it does not take itself, such as one while torch is being imported."""
    if argv and argv[0] in COMMANDS:
        return interruptible(lambda: _run(*argv))
    asked = ""
    if argv and argv[0] not in ("-h", "--help"):
        hint = did_you_mean(argv[0], COMMANDS)
        asked = "; ".join(filter(None, (f"unknown command {argv[0]!r}", hint))) + "\n"
    lines = [f"  {name:9} {what}" for name, (_, what) in COMMANDS.items()]
    print(f"{asked}usage: python -m vla_infoentropy_ros COMMAND [--help]\n" + "\n".join(lines))
    return 2 if asked else 0


def _run(name: str, *argv: str) -> int:
    """A command, or one sentence where something that it needs is missing."""
    try:
        if name not in _WITHOUT_POLICY:
            check_transformers()
        return int(import_module(COMMANDS[name][0]).main(list(argv)) or 0)
    except RequirementError as error:
        print(f"error: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"error: {missing(error)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
