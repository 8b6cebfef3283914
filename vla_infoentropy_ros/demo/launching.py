# SPDX-License-Identifier: Apache-2.0
"""The nodes as separate processes through the launch file; nothing outlives the demo."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.text import quoted_lines
from vla_infoentropy_ros.share import PACKAGE, share_directory

NAMESPACE = "sim"
"""Of the simulated robot and its policy node: no robot on the domain shall hear them."""
_MARK = "VLA_INFOENTROPY_DEMO_RUN"
# `ros2 launch` tells "[name-1]: process has died [pid 7, exit code -9, cmd ...", our own runner
# "[name-1] process has died: signal SIGKILL (file.xml, line 3)". Both begin the line with a level;
# what a node prints begins with the node's label, so that none can tell of another's death.
_DIED = re.compile(
    r"\[(?:INFO|WARNING|ERROR)\] \[(?P<name>[\w.-]+?)-\d+\]:? process has "
    r"(?:died \[pid \d+, exit code (?P<code>-?\d+)|died: (?P<told>[^(]+)"
    r"|(?P<clean>finished cleanly))"
)
_GRACE_S = 8.0
_PR_SET_PDEATHSIG = 1


class NodeDiedError(RuntimeError):
    """A node, or the launch process itself, ended before it was told to."""


class Launch:
    """A launch file in a child process; use it as a context manager.

    log: receives everything the nodes print. environment: added to our own. The launch runner
    gets SIGINT at the end, or when this process dies; whatever is left then is killed, found by a
    mark in its environment, whoever its parent is by now.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._mark = uuid.uuid4().hex
        self._stopping = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb", opener=_never_through_a_link) as sink:
            self._process = subprocess.Popen(  # noqa: S603 - no shell; `launch_command` made it
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), _MARK: self._mark,
                     "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"},
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the nodes in order
                preexec_fn=_die_with_parent,
            )

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise NodeDiedError, with the node's last lines, if anything has ended by itself."""
        died = _first_death(self.log)
        code = self._process.poll()
        if died is None and code is None:
            return
        if died is None:
            raise NodeDiedError(f"the launch process ended {_told(code or 0)}.{self._last_lines()}")
        name, told = died
        raise NodeDiedError(f"{name} ended {told}.{self._last_lines(name)}")

    def processes(self) -> dict[int, str]:
        """Process id and command line of everything this launch started and that still runs."""
        return {pid: line for pid, line in _marked(self._mark) if pid != os.getpid()}

    def stop(self) -> None:
        """End all processes: ask first, then kill. Safe to call twice."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            # A second Ctrl-C does not wait, but the rest is ended all the same.
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.wait(_GRACE_S)
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = self.processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if left:
                self._wait_until_gone(2.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)

    def _wait_until_gone(self, timeout_s: float) -> None:
        limit = time.monotonic() + timeout_s
        while self.processes() and time.monotonic() < limit:
            self._process.poll()  # reaps it
            time.sleep(0.05)

    def _last_lines(self, name: str = "", count: int = 12) -> str:
        """The end of the log: lines of that node if it has any, else of all."""
        lines = [line for line in _lines(self.log) if line.strip()]
        own = [line for line in lines if name and line.startswith(f"[{name}-")]
        told = deque(own or lines, maxlen=count)
        if not told:
            return " It printed nothing."
        body = "\n".join(quoted_lines(line) for line in told)
        return f" The last lines of its log ({self.log}):\n{body}"


def launch_command(arguments: Mapping[str, str], name: str = "sim") -> list[str]:
    """How to run ``NAME.launch.xml``: by ``ros2 launch`` where this package is installed in ROS,
    else by our own runner, which reads the same file."""
    file = share_directory() / "launch" / f"{name}.launch.xml"
    given = [f"{name}:={value}" for name, value in arguments.items()]
    if shutil.which("ros2") and _known_to_ros():
        return ["ros2", "launch", str(file), *given]
    return [sys.executable, "-m", f"{PACKAGE}.launch_runner", str(file), *given]


def _known_to_ros() -> bool:
    if importlib.util.find_spec("ros2launch") is None:
        return False
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    except ImportError:
        return False
    try:
        get_package_prefix(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


def _never_through_a_link(path: str, flags: int) -> int:
    """Opens a file of ours; a symbolic link in its place would empty another one."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)


def _die_with_parent() -> None:
    """In the child, before exec: SIGINT when the demo dies, even by SIGKILL (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _first_death(log: Path) -> tuple[str, str] | None:
    """Name of the first process that ended by itself, and how."""
    for line in _lines(log):
        found = _DIED.match(line)
        if not found:
            continue
        if found["clean"]:
            return found["name"], _told(0)
        if found["code"]:
            return found["name"], _told(int(found["code"]))
        return found["name"], f"by {found['told'].strip()}"
    return None


def _lines(log: Path) -> Iterator[str]:
    """The lines as the runner wrote them: a carriage return in what a node prints ends none."""
    with log.open(encoding="utf-8", errors="replace", newline="\n") as source:
        yield from (line.rstrip("\n") for line in source)


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    wanted = f"{_MARK}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(entry.name), line.strip()
        except OSError:
            continue  # gone, or another user's


def _told(code: int) -> str:
    if code >= 0:
        return f"by itself with exit code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"
