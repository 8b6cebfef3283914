# SPDX-License-Identifier: Apache-2.0
"""Abuse the policy node while it moves a robot: does it go on commanding, and can it be stopped?

Of each abuse: the longest time between two commands while the robot was moving, from `~/enable
false` in its midst to zero, and the most memory of the node's process. Times are of the node's own
stamps. ``--minutes`` mixes all of them at random with good input instead, by ``--seed``.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.argument_types import not_negative, out_file, seed
from vla_infoentropy_ros.bench import MeasuringError, record
from vla_infoentropy_ros.demo.domain import DomainClaim

RATE_HZ = 30.0
GAP_LIMIT_S = 2.0 / RATE_HZ
STOP_LIMIT_S = 0.1
_WATCH_S = 3.0
_START_S = 300.0
_ATTEMPTS = 5
_LATE_S = 3.0


@dataclass(frozen=True)
class Row:
    """gap_s: longest between commands while moving. stop_s: from ~/enable false to zero.
    peak_bytes: of the node's resident memory. fault: what the node said of it, "" for nothing."""

    gap_s: float
    stop_s: float
    peak_bytes: int
    fault: str

    @property
    def kept(self) -> bool:
        return self.gap_s <= GAP_LIMIT_S and self.stop_s <= STOP_LIMIT_S


def longest_gap(commands: Sequence[Any], from_s: float, to_s: float) -> float:
    """The longest time, s, from a command that moves to the next one, between two times.

    commands: `Sent` in order. The last command before counts; a zero may be followed by silence.
    """
    before = [each for each in commands if each.stamp_s <= from_s][-1:]
    within = [each for each in commands if from_s < each.stamp_s <= to_s]
    sent = [*before, *within]
    ends = [each.stamp_s for each in sent[1:]] + [to_s]
    gaps = (end - each.stamp_s for each, end in zip(sent, ends, strict=False) if each.moving)
    return max(gaps, default=0.0)


def time_to_zero(commands: Sequence[Any], from_s: float) -> float:
    """From a time to the first zero sent after it, s; infinite where none came."""
    zeros = (each.stamp_s - from_s for each in commands
             if not each.moving and each.stamp_s >= from_s)
    return next(zeros, float("inf"))


def stopped_after(commands: Sequence[Any], asked_s: float) -> float:
    """The same, s; 0 where it had stopped by itself before, or did not move at all."""
    last = commands[-1] if commands else None
    if last is None or (last.stamp_s < asked_s and not last.moving):
        return 0.0
    return time_to_zero(commands, asked_s)


def main(argv: list[str] | None = None) -> int:
    """Run and judge; 1 if a limit is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench abuse", description=__doc__
    )
    parser.add_argument("--minutes", type=not_negative, default=0.0,
                        help="mix at random for so long (default: each abuse by itself)")
    parser.add_argument("--seed", type=seed, default=0, help="of the mix (default: 0)")
    parser.add_argument("--json", type=out_file, metavar="FILE",
                        help="write the figures to a file as well")
    options = parser.parse_args(argv)
    machine = record.machine()
    with DomainClaim() as claim:
        os.environ |= {"ROS_DOMAIN_ID": str(claim.domain), "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(_command())  # noqa: S603 - our own command line
        try:
            rows = _measure(options, child)
        finally:
            child.terminate()
            child.wait(30)
    print(markdown(rows))
    tables = {"rows": {name: asdict(row) for name, row in rows.items()}}
    record.write(options.json, record.of("abuse", options, machine, tables))
    return 0 if all(row.kept for row in rows.values()) else 1


def _command() -> list[str]:
    values: dict[str, Any] = {
        "model": "vla_infoentropy_ros.bench.stateful_policy:load",
        "self_test": "''",  # which says, rightly, that this state does not reach the action
        "state.source": "joint_states",
        "state.joints": "joint_1",
        "max_rate_hz": 5.0,
        "image_transport": "compressed",
        "image_reliability": "reliable",
        "command.dry_run": "false",
        "command.rate_hz": RATE_HZ,
        "command.hold_periods": 5.0,
        "command.deadline_s": 5.0,
        "command.camera_timeout_s": 5.0,
        "command.max_observation_age_s": 5.0,
    }
    arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    node = [sys.executable, "-m", "vla_infoentropy_ros.start_node", "policy_node"]
    return [*node, "--ros-args", *arguments]


def _measure(options: argparse.Namespace, child: subprocess.Popen[bytes]) -> dict[str, Row]:
    from vla_infoentropy_ros.nodes.clients.abuse import AbusedRobot
    from vla_infoentropy_ros.nodes.clients.soak_robot import joined

    with joined() as executor:
        robot = AbusedRobot()
        executor.add_node(robot)
        run = _Run(robot, executor, child)
        run.until(lambda: robot.ready, "the node does not start")
        if options.minutes:
            rows = {f"all mixed, seed {options.seed}": run.mix(options.minutes, options.seed)}
        else:
            names = ["none", *robot.abuses]
            rows = {name: run.abuse(robot.abuses.get(name, lambda: None)) for name in names}
        robot.destroy_node()
    return rows


class _Run:
    """The camera goes on at 30 Hz through everything that is waited for here."""

    def __init__(self, robot: Any, executor: Any, child: subprocess.Popen[bytes]) -> None:
        self._robot, self._executor, self._child = robot, executor, child
        self._due_s = time.monotonic()

    def abuse(self, act: Callable[[], object]) -> Row:
        """Once while moving, to see it go on; once more, to see it stopped."""
        self._move()
        self._forget_peak()
        began_s = time.time()
        act()
        self._wait(_WATCH_S)
        gap_s = longest_gap(self._robot.commands, began_s, began_s + _WATCH_S)
        fault = self._fault()
        self._move()
        act()
        stop_s = self._stop()
        return Row(gap_s, stop_s, self._peak(), fault)

    def mix(self, minutes: float, seed: int) -> Row:
        """Random abuses at random times; stopped and started again now and then. Raises
        MeasuringError where ``minutes`` are over before the first turn is."""
        rng, abuses = random.Random(seed), sorted(self._robot.abuses)  # noqa: S311 - repeatable
        self._forget_peak()
        end_s, gap_s = time.monotonic() + minutes * 60.0, 0.0
        stops_s: list[float] = []
        while time.monotonic() < end_s:
            self._move()
            began_s = time.time()
            for _ in range(rng.randrange(1, 6)):
                self._robot.abuses[rng.choice(abuses)]()
                self._wait(rng.uniform(0.0, 0.5))
            gap_s = max(gap_s, longest_gap(self._robot.commands, began_s, time.time() - 0.1))
            self._move()
            self._robot.abuses[rng.choice(abuses)]()
            stops_s.append(self._stop())
        if not stops_s:
            raise MeasuringError(f"--minutes {minutes:g} is over before anything was tried; give "
                                 "more")
        return Row(gap_s, max(stops_s), self._peak(), "")

    def until(self, ready: Callable[[], Any], problem: str, timeout_s: float = _START_S) -> None:
        give_up_s = time.monotonic() + timeout_s
        while not ready():
            self._turn()
            if self._child.poll() is not None or time.monotonic() > give_up_s:
                raise MeasuringError(f"{problem}; is the node's log above? "
                                     f"It said: {self._fault()}")

    def _move(self) -> None:
        """Whatever came before, and whatever of it comes late, the robot moves again."""
        for _ in range(_ATTEMPTS):
            self._start()
            if not self._fault():
                break
        self._wait(0.5)

    def _start(self) -> None:
        """Until it moves, or has stopped for what was sent before."""
        robot = self._robot
        cleared = robot.operator.clear()
        self.until(cleared.done, "the fault cannot be cleared")
        self._wait(0.2)  # for the status to say so
        robot.instruct()
        self.until(lambda: robot.instructed, "the instruction is not taken", 30.0)
        enabled = robot.operator.enable(True)
        self.until(enabled.done, "the node cannot be enabled")
        robot.commands.clear()
        self.until(
            lambda: any(each.moving for each in robot.commands) or self._fault(), "no command", 30.0
        )

    def _stop(self) -> float:
        asked_s = time.time()
        done = self._robot.operator.enable(False)
        self.until(done.done, "the node cannot be stopped", 60.0)
        self._wait(0.3)
        give_up_s, stop_s = time.monotonic() + _LATE_S, float("inf")
        # Stamps are the node's: a command that waits here to be heard is no later for it.
        while stop_s == float("inf") and time.monotonic() < give_up_s:
            self._turn()
            stop_s = stopped_after(self._robot.commands, asked_s)
        return stop_s

    def _wait(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._turn()

    def _turn(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._robot.look()
            self._due_s = max(self._due_s + 1.0 / RATE_HZ, now_s)
        self._robot.operator.listen()
        self._executor.spin_once(timeout_sec=max(0.0, min(self._due_s - time.monotonic(), 0.02)))

    def _fault(self) -> str:
        status = self._robot.status
        return str(status.fault_code) if status is not None and status.fault else ""

    def _forget_peak(self) -> None:
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")

    def _peak(self) -> int:
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        (line,) = (each for each in lines if each.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def markdown(rows: dict[str, Row]) -> str:
    """The table as it stands in docs/security.md."""
    lines = ["| abuse | longest gap | to zero | peak memory | fault |", "|" + "---|" * 5]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {_marked(row.gap_s, GAP_LIMIT_S)} | {_marked(row.stop_s, STOP_LIMIT_S)} | "
            f"{row.peak_bytes / 1e6:.0f} MB | {row.fault} |"
        )
    return "\n".join(lines)


def _marked(seconds: float, limit_s: float) -> str:
    """Milliseconds, bold where they are too many."""
    told = f"{1e3 * seconds:.0f} ms"
    return told if seconds <= limit_s else f"**{told}**"
