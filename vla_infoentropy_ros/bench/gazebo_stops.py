# SPDX-License-Identifier: Apache-2.0
"""What ends in a standing hand in Gazebo, each once while it moves, and how long it took."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vla_infoentropy_ros.bench.gazebo import GazeboError, Scene, scene
from vla_infoentropy_ros.bench.gazebo_truth import gz, stopped_s
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.sim.scene import GANTRY_HOME

_MOVING = 0.05  # m/s
_WATCH_S = 1.5  # of simulated time
_NARROW = 0.05
"""m, of the hand's start to either side: a box that the task does not fit into."""
_AT_A_SIDE = 0.01  # m


def run_stops(options: argparse.Namespace) -> dict[str, Any]:
    """By what stops it. Each is a launch of its own, with the first scene."""
    acts: Mapping[str, Callable[[Scene], None]] = {
        "policy node killed": lambda here: _kill(here, "start_node policy_node"),
        "gantry node killed": lambda here: _kill(here, "start_node gantry_node"),
        "camera removed": _remove_camera,
        "second commander": lambda here: here.operator.rival(),
    }
    rows: dict[str, Any] = {}
    for name, act in acts.items():
        rows[name] = row = _stop(name, act, options)
        print(f"{name:24} stood {row['stood_s']:.3f} s later, {row['way_m'] * 1e3:.1f} mm on  "
              f"{row['fault']}")
    rows["workspace"] = row = _in_a_box(options)
    print(f"{'workspace':24} {row['beyond_m'] * 1e3:.1f} mm beyond its box")
    return rows


def _stop(name: str, act: Callable[[Scene], None], options: argparse.Namespace) -> dict[str, Any]:
    """stood_s: simulated, from the act to the last movement; of a second commander from the fault,
    since to be heard of takes its time. way_m: how far the hand came in that time."""
    log = options.logs / f"{name.replace(' ', '_')}.log"
    with scene(options.seed, options.pace, log, {"selector": options.variants[-1]}) as here:
        here.begin()
        here.wait(lambda: here.truth.speed > _MOVING, "the hand does not move")
        acted_s = time.monotonic()
        act(here)
        if "killed" not in name:
            here.wait(lambda: here.operator.fault, "no fault")
        from_s = time.monotonic() if name == "second commander" else acted_s
        end_s = here.poses.time_s + _WATCH_S
        here.wait(lambda: here.poses.time_s > end_s, "simulated time stands still")
        stood_s, way_m = stopped_s(here.truth.poses, from_s)
        return {"stood_s": stood_s, "way_m": way_m, "fault": here.operator.fault}


def _kill(here: Scene, program: str) -> None:
    """SIGKILL; the launch is stopped before, or it would end Gazebo too before one has seen."""
    processes = here.launch.processes()
    for pid, line in processes.items():
        if ".launch_runner" in line or "ros2 launch" in line:
            os.kill(pid, signal.SIGSTOP)
    (killed,) = (pid for pid, line in processes.items() if program in line)
    os.kill(killed, signal.SIGKILL)


def _remove_camera(here: Scene) -> None:
    subprocess.run(  # noqa: S603 - our own command line
        [gz(), "service", "-s", "/world/tabletop/remove", "--reqtype", "gz.msgs.Entity",
         "--reptype", "gz.msgs.Boolean", "--timeout", "5000",
         "--req", 'name: "camera" type: MODEL'],
        env=here.environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _in_a_box(options: argparse.Namespace) -> dict[str, Any]:
    """The hand starts in the middle of a box that is smaller than the task. beyond_m: how far it
    left it."""
    gazebo = yaml.safe_load((share_directory() / "config" / "gazebo.yaml").read_text("utf-8"))
    log = options.logs / "workspace.log"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gazebo.yaml"
        parameters = gazebo["/**"]["ros__parameters"]
        low, high = (np.array(parameters[f"command.workspace_{end}"]) for end in ("low", "high"))
        middle = np.array(GANTRY_HOME)
        low, high = np.maximum(low, middle - _NARROW), np.minimum(high, middle + _NARROW)
        parameters["command.workspace_low"] = low.tolist()
        parameters["command.workspace_high"] = high.tolist()
        file.write_text(yaml.safe_dump(gazebo), encoding="utf-8")
        with scene(options.seed, options.pace, log,
                   {"selector": options.variants[-1], "robot_file": str(file)}) as here:
            here.begin()
            first, end_s = len(here.truth.poses), here.poses.time_s + options.limit / 2.0
            here.wait(lambda: here.poses.time_s > end_s, "simulated time stands still")
            return _kept(np.array([poses.hand for poses in here.truth.poses[first:]]), low, high,
                         here.operator.fault)


def _kept(hands: np.ndarray, low: np.ndarray, high: np.ndarray, fault: str) -> dict[str, Any]:
    """hands: [n, 3], m. Raises GazeboError where it was not the box that held them."""
    if fault:
        raise GazeboError(f"workspace: a fault stopped the hand, not its limits: {fault}")
    outside = float(np.maximum(low - hands, hands - high).max())
    if outside < -_AT_A_SIDE:
        raise GazeboError(f"workspace: the hand stayed {-outside:.3f} m within its box, so that "
                           "nothing was limited")
    return {"low": low.tolist(), "high": high.tolist(), "beyond_m": max(0.0, outside)}
