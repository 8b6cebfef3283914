# SPDX-License-Identifier: Apache-2.0
"""Run the policy node for a long time at 5 Hz beside a 30 Hz camera and look for what wears out.

Counts command periods without a command, growth of memory and open file descriptors of the node's
process, and measures what the node adds between image and command beyond the policy step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vla_infoentropy_ros.argument_types import out_file, pixels, positive
from vla_infoentropy_ros.bench import MeasuringError, record
from vla_infoentropy_ros.bench.arguments import variant_name
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.nodes.clients.soak_robot import SoakRobot, joined
from vla_infoentropy_ros.nodes.middleware import local_environment, rmw_name
from vla_infoentropy_ros.variants import RECOMMENDED

INSTRUCTION = "put the red cube on the white plate"
POLICY_RATE_HZ = 5.0
MISSED_LIMIT = 1e-4
GROWTH_LIMIT = 0.02
OVERHEAD_LIMIT_MS = 8.0
_SAMPLE_S = 5.0
_SETTLED = 0.25  # share of the run after which memory may no longer grow
_START_TIMEOUT_S = 300.0


@dataclass
class Figures:
    """Result of a run.

    lost_images: sent, but not arrived, as the node's diagnostics count them. missed: command
    periods in which none arrived; missed_share: of all. gap: between commands as they arrive.
    memory_growth: from after the first quarter to the last. overhead_ms: image to command beyond
    the policy step, median. fault: what stopped the node.
    """

    seconds: float = 0.0
    middleware: str = ""
    images: int = 0
    lost_images: int = 0
    steps: int = 0
    commands: int = 0
    fault: str = ""
    missed_periods: int = 0
    missed_share: float = 0.0
    gap_p50_ms: float = 0.0
    gap_p999_ms: float = 0.0
    gap_max_ms: float = 0.0
    memory_start_bytes: int = 0
    memory_end_bytes: int = 0
    memory_growth: float = 0.0
    descriptors_start: int = 0
    descriptors_end: int = 0
    overhead_ms: float = 0.0
    problems: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Fill in the problems."""
        if self.fault:
            self.problems.append(f"the node stopped: {self.fault}")
        if self.missed_share > MISSED_LIMIT:
            self.problems.append(f"missed {self.missed_periods} command periods")
        if abs(self.memory_growth) > GROWTH_LIMIT:
            self.problems.append(f"memory changed by {self.memory_growth:.1%}")
        if self.descriptors_end > self.descriptors_start:
            self.problems.append("file descriptors leak")
        if self.overhead_ms > OVERHEAD_LIMIT_MS:
            self.problems.append(f"image to command adds {self.overhead_ms:.1f} ms")


def missed_periods(arrivals_s: list[float], rate_hz: float) -> int:
    """Command periods without a command; arrivals (n,) s, ascending, with beginning and end.

    A command that is late by less than a period leaves a gap below two periods and is no miss.
    """
    gaps = np.diff(np.array(arrivals_s)) * rate_hz
    return int(np.sum(np.maximum(np.floor(gaps + 1e-6) - 1, 0)))


def growth(samples: list[int]) -> float:
    """Relative growth from after settling to the end, by medians of equal parts."""
    settled = samples[int(len(samples) * _SETTLED) :]
    third = max(1, len(settled) // 3)
    before = statistics.median(settled[:third])
    return statistics.median(settled[-third:]) / before - 1.0


def main(argv: list[str] | None = None) -> int:
    """Run and judge; 1 if a limit is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench soak", description=__doc__
    )
    parser.add_argument("--minutes", type=positive, default=30.0, help="(default: 30)")
    parser.add_argument("--camera-rate", type=positive, default=30.0, help="Hz (default: 30)")
    parser.add_argument("--selector", type=variant_name, default=str(RECOMMENDED),
                        help="with +window if so wanted (default: %(default)s)")
    parser.add_argument("--width", type=pixels, default=640, help="pixels (default: 640)")
    parser.add_argument("--height", type=pixels, default=480, help="pixels (default: 480)")
    parser.add_argument("--json", type=out_file, metavar="FILE",
                        help="write the figures to a file as well")
    options = parser.parse_args(argv)
    machine = record.machine()
    with DomainClaim() as claim:
        os.environ |= local_environment()
        os.environ |= {"ROS_DOMAIN_ID": str(claim.domain), "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(_command(options.selector))  # noqa: S603 - our own command line
        try:
            figures = _measure(options, child)
        finally:
            child.terminate()
            child.wait(30)
    figures.middleware = rmw_name()
    figures.judge()
    print(json.dumps(asdict(figures), indent=2))
    command = f"soak --minutes {options.minutes:g}"
    record.write(options.json, record.of(command, options, machine, asdict(figures)))
    return 1 if figures.problems else 0


def _command(selector: str) -> list[str]:
    values: dict[str, Any] = {
        "selector": selector,
        "max_rate_hz": POLICY_RATE_HZ,
        "image_reliability": "reliable",
        "command.dry_run": "false",
        "command.hold_periods": 5.0,
        "command.deadline_s": 10.0,
        "command.camera_timeout_s": 10.0,
        "command.max_observation_age_s": 10.0,
    }
    arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    node = [sys.executable, "-m", "vla_infoentropy_ros.start_node", "policy_node"]
    return [*node, "--ros-args", *arguments]


def _measure(options: argparse.Namespace, child: subprocess.Popen[bytes]) -> Figures:
    with joined() as executor:
        robot = SoakRobot(options.width, options.height)
        executor.add_node(robot)

        def wait(ready: Any, problem: str) -> None:
            give_up_s = time.monotonic() + _START_TIMEOUT_S
            while not ready():
                executor.spin_once(timeout_sec=0.05)
                if child.poll() is not None or time.monotonic() > give_up_s:
                    raise MeasuringError(f"{problem}; is the node's log above?")

        robot.start(wait, INSTRUCTION)
        began_s = time.monotonic()
        figures, memory = _run(robot, executor, child.pid, options)
        ended_s = time.monotonic()
        robot.destroy_node()
    if len(robot.commands_s) < 2 or not robot.overheads_ms:
        raise MeasuringError(f"fewer than two commands in --minutes {options.minutes:g}; give "
                             f"more, or see the node's log above. It said: {robot.fault}")
    rate_hz = robot.command_rate_hz
    gaps_ms = np.diff(robot.commands_s) * 1e3
    figures.missed_periods = missed_periods([began_s, *robot.commands_s, ended_s], rate_hz)
    figures.gap_p50_ms, figures.gap_p999_ms = map(float, np.percentile(gaps_ms, (50, 99.9)))
    figures.gap_max_ms = float(gaps_ms.max())
    figures.fault = robot.fault
    figures.missed_share = figures.missed_periods / max(1.0, figures.seconds * rate_hz)
    figures.images, figures.lost_images = robot.images, robot.lost_images
    figures.steps = len(robot.overheads_ms)
    figures.commands = len(robot.commands_s)
    figures.overhead_ms = statistics.median(robot.overheads_ms)
    figures.memory_start_bytes, figures.memory_end_bytes = memory[0], memory[-1]
    figures.memory_growth = growth(memory)
    return figures


def _run(
    robot: Any, executor: Any, pid: int, options: argparse.Namespace
) -> tuple[Figures, list[int]]:
    figures, memory = Figures(descriptors_start=_descriptors(pid)), [_resident(pid)]
    began_s = time.monotonic()
    due_s, sample_s, end_s = began_s, began_s + _SAMPLE_S, began_s + options.minutes * 60.0
    bar = tqdm(total=round(options.minutes * 60), unit="s")
    while (now_s := time.monotonic()) < end_s:
        if now_s >= due_s:
            robot.look()
            due_s = max(due_s + 1.0 / options.camera_rate, now_s)
        if now_s >= sample_s:
            memory.append(_resident(pid))
            sample_s += _SAMPLE_S
            bar.update(round(_SAMPLE_S))
        executor.spin_once(timeout_sec=max(0.0, min(due_s - time.monotonic(), 0.05)))
    bar.close()
    figures.seconds = time.monotonic() - began_s
    figures.descriptors_end = _descriptors(pid)
    return figures, memory


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
