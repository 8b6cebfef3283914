# SPDX-License-Identifier: Apache-2.0
"""Every polite way to end a command is one: an interrupt, after which results are still written."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


def heeded(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Of these signals those to be taken: SIGHUP is not where whoever started this process has it
    ignored, as nohup does so that it outlives its terminal."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in numbers if number != signal.SIGHUP or not ignored]


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; see `heeded`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = heeded((signal.SIGTERM, signal.SIGHUP))
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interruptible(main: Callable[[], int]) -> int:
    """The exit code that ``main`` gives; 130 after an interrupt that it does not take itself."""
    try:
        with terminable():
            return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
