# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros.training.libero SHARDS OUT``: train, or go on training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.interrupting import interruptible
from vla_infoentropy_ros.training.libero.recipe import Recipe
from vla_infoentropy_ros.training.libero.train import Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Train to the end; 0, or 1 with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros.training.libero",
                                     description=__doc__)
    parser.add_argument("shards", type=Path, help="folder that collection fills")
    parser.add_argument("out", type=Path, help="folder for weights, record and state")
    parser.add_argument("--revision", default="libero-1", help="name of the weights")
    parser.add_argument("--begin", type=Path,
                        help="folder of a policy whose weights are the first ones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    for item in fields(Recipe)[:-1]:
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=type(item.default),
                            default=item.default, help=f"{item.metadata['doc']} (%(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        recipe = Recipe(**{item.name: getattr(options, item.name) for item in fields(Recipe)[:-1]})
        options.out.mkdir(parents=True, exist_ok=True)
        Trainer(recipe, options.shards, options.out, options.revision, options.device,
                options.begin).run()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
