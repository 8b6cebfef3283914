# SPDX-License-Identifier: Apache-2.0
"""Starts processes, shows their output, and ends all of them.

A thread for each stream copies lines; everything else happens in the thread that calls `run`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .commands import command_line, environment
from .description import Description, Process
from .guardian import Guardian, die_with_parent

POLL_SEC = 0.1
_STAGES = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_WAITS_S = (5.0, 5.0, float("inf"))  # after each of them, as ros2 launch
_LAST_LINES_S = 2.0  # for what an ended process wrote to come through


@dataclass
class Running:
    """A process that was started. stage: highest signal sent so far, as an index into _STAGES;
    escalate_at: monotonic time at which the next one is due."""

    spec: Process
    label: str
    popen: subprocess.Popen[bytes]
    readers: list[threading.Thread] = field(default_factory=list)
    stage: int = -1
    escalate_at: float = float("inf")


class Runner:
    """Runs a launch description to its end."""

    def __init__(self, description: Description) -> None:
        """Prepare; nothing is started yet."""
        self._description = description
        self._running: list[Running] = []
        self._stopping = False
        self._failed: list[str] = []
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._printing = threading.Lock()

    def run(self) -> int:
        """Return the exit code: 0 only if no process failed."""
        with tempfile.TemporaryDirectory(prefix="launch_runner_") as scratch:
            commands = [
                (process, command_line(process, Path(scratch), index))
                for index, process in enumerate(self._description.processes)
            ]
            self._guardian = Guardian()
            before = {
                number: signal.signal(number, lambda told, _: self._signals.put(told))
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            try:
                for index, (process, command) in enumerate(commands, 1):
                    self._start(process, f"{process.name}-{index}", command)
                self._read()
                while self._running:
                    self._step()
            finally:
                self._end_all()
                for number, handler in before.items():
                    signal.signal(number, handler)
                self._guardian.close()
        for text in self._failed:
            self._say("ERROR", text)
        return 1 if self._failed else 0

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
        self._guardian.add(popen.pid)
        self._running.append(Running(process, label, popen))
        self._say("INFO", f"[{label}] process started with pid [{popen.pid}]")

    def _read(self) -> None:
        """Begin to show output. After the last start: a fork wants no other threads."""
        for item in self._running:
            streams = (item.popen.stdout, sys.stdout), (item.popen.stderr, sys.stderr)
            for source, target in streams:
                assert source is not None
                reader = threading.Thread(
                    target=self._copy, args=(item.label, source, target), daemon=True
                )
                item.readers.append(reader)
                reader.start()

    def _copy(self, label: str, source: IO[bytes], target: IO[str]) -> None:
        with source:
            for line in source:
                if text := line.rstrip(b"\n").decode("utf-8", "replace"):
                    self._print(f"[{label}] {text}", target)

    def _step(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._on_signal(self._signals.get(timeout=POLL_SEC))
        now = time.monotonic()
        for item in list(self._running):
            if item.popen.poll() is not None:
                self._ended(item)
            elif now >= item.escalate_at:
                self._signal(item, item.stage + 1)

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._stopping:
            self._stop(0 if number == signal.SIGINT else 1)
            self._say("INFO", f"{name}: stopping all processes")
        elif number == signal.SIGINT and self._running:
            self._say("WARNING", f"{name} again: stopping at once")
            for item in self._running:
                item.escalate_at = 0.0

    def _ended(self, item: Running) -> None:
        self._running.remove(item)
        code = item.popen.returncode
        _signal_group(item, signal.SIGKILL)  # children that it left behind
        for reader in item.readers:
            reader.join(_LAST_LINES_S)
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
        _signal_group(item, number)
        item.escalate_at = time.monotonic() + _WAITS_S[item.stage]

    def _end_all(self) -> None:
        """What an error of the runner's own has left: a node stops its robot where it is asked to
        end, and not where it is killed."""
        for number, wait_s in zip(_STAGES, _WAITS_S, strict=True):
            for item in self._running:
                _signal_group(item, number)
            ends_s = time.monotonic() + wait_s
            while self._running and time.monotonic() < ends_s:
                self._running = [item for item in self._running if item.popen.poll() is None]
                time.sleep(POLL_SEC)

    def _say(self, level: str, text: str) -> None:
        target = sys.stdout if level == "INFO" else sys.stderr
        self._print(f"[{level}] {text if text.startswith('[') else '[launch] ' + text}", target)

    def _print(self, line: str, target: IO[str]) -> None:
        with self._printing:
            try:
                print(line, file=target, flush=True)
            except (OSError, ValueError):  # whoever read it is gone; the robot is not
                _mute(target)


def _signal_group(item: Running, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(item.popen.pid, number)


def _mute(target: IO[str]) -> None:
    """Lead a stream that nobody reads to nowhere, so that nothing is left in it to fail later."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), target.fileno())


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):  # a real-time signal has no name
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
