# SPDX-License-Identifier: Apache-2.0
"""A small process that outlives the runner and ends what it left behind.

The kernel can tell a child that its parent died, but not its grandchildren, and a node that hangs
ignores a polite signal. The guardian holds a pipe from the runner: when the pipe closes without a
word, it ends every process group it was told about, politely first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

GRACE_SEC = 5.0
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies (Linux only); called in the child."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Guardian:
    """The runner's end of the pipe."""

    def __init__(self) -> None:
        """Start the guardian process."""
        reader, self._writer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._writer)
            _guard(reader)
        os.close(reader)

    def add(self, group: int) -> None:
        """Put a process group under guard."""
        self._send(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Release a process group that has ended."""
        self._send(f"-{group}\n")

    def close(self) -> None:
        """Let the guardian go."""
        os.close(self._writer)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _send(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, text.encode())


def _guard(reader: int) -> None:
    """Body of the guardian; never returns."""
    # A session of its own: Ctrl-C at the terminal must not reach it.
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with os.fdopen(reader) as lines:
        for line in lines:
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    limit = time.monotonic() + GRACE_SEC
    for group in groups:
        _signal_group(group, signal.SIGTERM)
    while time.monotonic() < limit and any(_signal_group(group, 0) for group in groups):
        time.sleep(0.1)
    for group in groups:
        _signal_group(group, signal.SIGKILL)
    os._exit(0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
