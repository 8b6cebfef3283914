# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros.training [train|evaluate|frames|flow]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.interrupting import interruptible
from vla_infoentropy_ros.models.embedded.weights_file import SHIPPED, write_text
from vla_infoentropy_ros.sim.tasks import EVALUATION_SEED
from vla_infoentropy_ros.training.chunks import FRAMES_SEED, collect_chunks
from vla_infoentropy_ros.training.config import default_recipe
from vla_infoentropy_ros.training.evaluate import CONTROLS, evaluate
from vla_infoentropy_ros.training.flow import RECIPES, FlowTrainer
from vla_infoentropy_ros.training.train import Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run; 0, or 1 where something given cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros train")
    commands = parser.add_subparsers(dest="command")
    train = commands.add_parser("train", help="train from scratch (the default)")
    test = commands.add_parser("evaluate", help="closed-loop success on unseen episodes")
    test.add_argument("--weights", type=Path,
                      help="folder to read from (default: the package's)")
    frames = commands.add_parser("frames", help="collect the pictures that `flow` learns from")
    frames.add_argument("--shards", type=int, default=120,
                        help="500 pictures each; those that are there stay")
    frames.add_argument("--workers", type=int, default=2, help="processes")
    flow = commands.add_parser("flow", help="train a policy that acts by flow on the same table")
    flow.add_argument("recipe", choices=sorted(RECIPES))
    flow.add_argument("--weights", type=Path, required=True, help="folder to write to")
    flow.add_argument("--state", type=Path, required=True,
                      help="file that keeps the run's state, to go on after a break")
    flow.add_argument("--seconds", type=float, default=None,
                      help="go through the recipe in this time, with the updates it allows "
                      "(default: all of the recipe's)")
    for command in (frames, flow):
        command.add_argument("--frames", type=Path, required=True,
                             help="folder of pictures; two runs may share it, and `flow` takes "
                             "up what `frames` adds meanwhile")
        command.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    for command in (parser, train):
        command.add_argument("--weights", type=Path, default=Path("out/weights"),
                             help="new folder to write to (default: %(default)s)")
        command.add_argument("--state", type=Path, default=None,
                             help="file that keeps the run's state, to go on after a break")
    test.add_argument("--episodes", type=int, default=200)
    test.add_argument("--first-seed", type=int, default=EVALUATION_SEED)
    test.add_argument("--control", choices=CONTROLS, default="none")
    test.add_argument("--workers", type=int, default=2)
    test.add_argument("--record", action="store_true",
                      help="add the result to training.json beside the weights")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.command and arguments[0] != options.command:  # a subcommand's defaults win over it
        parser.error(f"{arguments[0]} stands before {options.command}; write it behind")
    try:
        _run(options)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "evaluate":
        weights = options.weights or SHIPPED
        result = evaluate(weights, options.first_seed, options.episodes, options.workers,
                          options.control).summary()
        print(json.dumps(result, indent=2))
        if options.record:
            path = weights / "training.json"
            record = json.loads(path.read_text(encoding="utf-8"))
            record.setdefault("evaluation", {})[options.control] = result
            write_text(path, json.dumps(record, indent=2) + "\n")
    elif options.command == "frames":
        collect_chunks(options.frames, options.shards, FRAMES_SEED, options.workers,
                       options.device)
    elif options.command == "flow":
        FlowTrainer(RECIPES[options.recipe], options.frames, options.weights, options.state,
                    options.device).run(options.seconds)
    else:
        Trainer(default_recipe(), options.weights).run(options.state)


if __name__ == "__main__":
    sys.exit(interruptible(main))
