# SPDX-License-Identifier: Apache-2.0
"""Starts processes, shows their output, and ends all of them.

Single-threaded: one selector over the pipes of all processes and over signals.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .commands import command_line, environment
from .description import Description, Process
from .guardian import Guardian, die_with_parent

POLL_SEC = 0.1
_STAGES = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_WAITS_S = (5.0, 5.0, float("inf"))  # after each of them, as ros2 launch


@dataclass
class Running:
    """A process that was started."""

    spec: Process
    label: str
    command: list[str]
    popen: subprocess.Popen[bytes]
    buffers: dict[int, bytes] = field(default_factory=dict)
    # Highest signal sent so far, as an index into _STAGES, and when the next one is due
    stage: int = -1
    escalate_at: float = float("inf")


class Runner:
    """Runs a launch description to its end."""

    def __init__(self, description: Description) -> None:
        """Prepare; nothing is started yet."""
        self._description = description
        self._selector = selectors.DefaultSelector()
        self._running: list[Running] = []
        self._stopping = False
        self._failed: list[str] = []
        self._wakeup_read, self._wakeup_write = os.pipe()
        self._guardian: Guardian | None = None

    def run(self) -> int:
        """Return the exit code: 0 only if no process failed."""
        with tempfile.TemporaryDirectory(prefix="launch_runner_") as scratch:
            commands = [
                (process, command_line(process, Path(scratch), index))
                for index, process in enumerate(self._description.processes)
            ]
            self._guardian = Guardian()
            previous = self._catch_signals()
            try:
                for index, (process, command) in enumerate(commands, 1):
                    self._start(process, f"{process.name}-{index}", command)
                while self._running:
                    self._step()
            finally:
                self._kill_all()
                self._restore_signals(previous)
                self._guardian.close()
        for text in self._failed:
            self._say("ERROR", text)
        return 1 if self._failed else 0

    # Signals

    def _catch_signals(self) -> tuple[int, dict[int, Any]]:
        for end in (self._wakeup_read, self._wakeup_write):
            os.set_blocking(end, False)
        self._selector.register(self._wakeup_read, selectors.EVENT_READ, None)
        handlers: dict[int, Any] = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return signal.set_wakeup_fd(self._wakeup_write), handlers

    def _restore_signals(self, previous: tuple[int, dict[int, Any]]) -> None:
        signal.set_wakeup_fd(previous[0])
        for number, handler in previous[1].items():
            signal.signal(number, handler)
        self._selector.close()
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)

    def _handle_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup_read, 64):
                name = signal.Signals(number).name
                if not self._stopping:
                    self._say("INFO", f"{name}: stopping all processes")
                    self._stop(0 if number == signal.SIGINT else 1)
                elif number == signal.SIGINT and self._running:
                    self._say("WARNING", f"{name} again: stopping at once")
                    for item in self._running:
                        item.escalate_at = 0.0

    # Life of a process

    def _start(self, process: Process, label: str, command: list[str]) -> None:
        if self._stopping:
            return
        try:
            popen = subprocess.Popen(
                command,
                env=environment(process),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self._fail(f"[{label}] cannot start {command[0]!r} ({process.where}): {error.strerror}")
            return
        item = Running(process, label, command, popen)
        assert self._guardian is not None
        self._guardian.add(popen.pid)
        self._running.append(item)
        for stream in (popen.stdout, popen.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, item)
        self._say("INFO", f"[{label}] process started with pid [{popen.pid}]")

    def _step(self) -> None:
        for key, _ in self._selector.select(POLL_SEC):
            if key.data is None:
                self._handle_signals()
            else:
                self._copy_output(key.data, key.fileobj)
        now = time.monotonic()
        for item in list(self._running):
            if item.popen.poll() is not None:
                self._ended(item)
            elif now >= item.escalate_at:
                self._signal(item, item.stage + 1)

    def _copy_output(self, item: Running, stream: Any, final: bool = False) -> None:
        target: IO[str] = sys.stdout if stream is item.popen.stdout else sys.stderr
        try:
            data = os.read(stream.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(stream)
        lines = (item.buffers.pop(stream.fileno(), b"") + data).split(b"\n")
        if data and not final:
            item.buffers[stream.fileno()] = lines.pop()
        for line in lines:
            if line:
                target.write(f"[{item.label}] {line.decode('utf-8', 'replace')}\n")
        target.flush()

    def _drain(self, item: Running) -> None:
        for stream in (item.popen.stdout, item.popen.stderr):
            assert stream is not None
            while stream in self._selector.get_map():
                before = item.buffers.get(stream.fileno())
                self._copy_output(item, stream)
                if item.buffers.get(stream.fileno()) == before:
                    break  # a grandchild keeps the pipe open
            if stream in self._selector.get_map():
                self._selector.unregister(stream)
            stream.close()

    def _ended(self, item: Running) -> None:
        self._drain(item)
        self._running.remove(item)
        code = item.popen.returncode
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(item.popen.pid, signal.SIGKILL)  # children that it left behind
        assert self._guardian is not None
        self._guardian.remove(item.popen.pid)
        end = f"[{item.label}] process"
        if item.stage >= 0:
            if item.stage == 2:
                self._failed.append(f"{end} did not stop in time and was killed")
            else:
                self._say("INFO", f"{end} has stopped: {_described(code)}")
            return
        if code != 0:
            self._fail(f"{end} has died: {_described(code)} ({item.spec.where})")
        else:
            self._say("INFO", f"{end} has finished cleanly [pid {item.popen.pid}]")
            if item.spec.ends_all and not self._stopping:
                self._stop(0)

    def _fail(self, text: str) -> None:
        """Note a failure; without one of its nodes a robot system must not carry on."""
        self._say("ERROR", text)
        self._failed.append(text)
        if not self._stopping:
            self._stop(0)

    def _stop(self, first_stage: int) -> None:
        self._stopping = True
        for item in self._running:
            self._signal(item, first_stage)

    def _signal(self, item: Running, stage: int) -> None:
        item.stage = min(stage, len(_STAGES) - 1)
        number = _STAGES[item.stage]
        if item.escalate_at < float("inf"):  # not the first signal
            self._say("WARNING", f"[{item.label}] did not stop; sending {number.name}")
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(item.popen.pid, number)
        item.escalate_at = time.monotonic() + _WAITS_S[item.stage]

    def _kill_all(self) -> None:
        for item in self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(item.popen.pid, signal.SIGKILL)
            item.popen.wait()

    def _say(self, level: str, text: str) -> None:
        stream = sys.stdout if level == "INFO" else sys.stderr
        print(
            f"[{level}] {text if text.startswith('[') else '[launch] ' + text}",
            file=stream,
            flush=True,
        )


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
