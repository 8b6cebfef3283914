# SPDX-License-Identifier: Apache-2.0
"""What arguments of commands may be, for argparse: it names the argument, these say what is wrong
with its value."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from vla_infoentropy_ros.foreign.text import shown


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from ``low`` to ``high``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is outside {low} .. {high}")
        return value

    return number


count = whole(1, 10_000)
"""Episodes, or steps."""
many = whole(1, 1_000_000)
"""Frames."""
seed = whole(0, 2**62)
workers = whole(1, 1024)
"""Threads, or processes."""
pixels = whole(1, 10_000)
"""Of one edge of a picture."""
LAST_DOMAIN = 232
"""The last ROS_DOMAIN_ID whose UDP ports, 7400 + 250 times it, exist."""
domain = whole(0, LAST_DOMAIN)


def not_negative(text: str) -> float:
    """A number from 0 to a million, to which no time and no rate comes."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number") from None
    if not 0.0 <= value <= 1e6:  # NaN is not either
        raise argparse.ArgumentTypeError(f"{value:g} is outside 0 .. 1000000")
    return value


def positive(text: str) -> float:
    """The same without 0."""
    if (value := not_negative(text)) > 0.0:
        return value
    raise argparse.ArgumentTypeError(f"{value:g} is not more than 0")


def eighths(text: str) -> float:
    """Eighths, one at least."""
    if (value := positive(text)) % 0.125:
        raise argparse.ArgumentTypeError(
            f"{value:g} is not in steps of 1/8; give {math.ceil(value * 8) / 8:g}")
    return value


def out_file(text: str) -> Path:
    """A file to be written after hours: that it can be is tried at once. Its folder is made, what
    it holds stays, and where there is none yet none is left."""
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("xb").close()
        except FileExistsError:
            path.open("ab").close()
        else:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} cannot be written: {error.strerror}; name another file") from None
    return path


def keep_apart(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """End the command where two of these options name one file."""
    taken: dict[Path, str] = {}
    for name in names:
        path: Path | None = getattr(options, name)
        if path is None:
            continue
        if other := taken.get(path.resolve()):
            parser.error(f"--{other} and --{name} are one file, {path}; name two")
        taken[path.resolve()] = name
