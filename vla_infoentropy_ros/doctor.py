# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros doctor``: what is in use here, each line ok or with its remedy.

It reads only, and starts no node. Its output is the first thing that a bug report needs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from vla_infoentropy_ros.foreign.text import MESSAGE, one_line
from vla_infoentropy_ros.ros_setup import wheels
from vla_infoentropy_ros.ros_setup.errors import SetupError
from vla_infoentropy_ros.ros_setup.source import find_source
from vla_infoentropy_ros.share import PACKAGE, share_directory

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only looked at
_SEGMENTS = "fastrtps_*"  # what Fast DDS leaves there; those of running processes are locked
_PROFILE_BYTES = 16 * 2**20 * 2  # two participants with config/fastdds.xml
_ASK_S = 60.0  # a limit for a library that hangs when it is imported


@dataclass(frozen=True)
class Finding:
    """One line. text: what is in use, or what is wrong and its remedy."""

    name: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FIX '} {self.name:13} {self.text}"


def main(argv: list[str] | None = None) -> int:
    """Print all findings; 1 where one needs a remedy."""
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE} doctor", description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of a checkpoint: does it fit?")
    options = parser.parse_args(argv)
    checks: list[Callable[[], Finding]] = [
        ros, messages, middleware, shared_memory, torch_and_device, renderer,
        lambda: memory(options.model),
    ]  # fmt: skip
    findings = []
    for check in checks:
        findings.append(check())
        print(findings[-1], flush=True)
    return 0 if all(finding.ok for finding in findings) else 1


def ros(environment: Mapping[str, str] = os.environ) -> Finding:
    """Which ROS 2, and whether its wheels are of one generation."""
    try:
        source = find_source(environment)
        if not source.sourced:
            if util.find_spec("rclpy") is None:
                raise SetupError("no rclpy is installed for this Python: run `make demo` once")
            wheels.check_generation(share_directory() / wheels.LOCK)
    except SetupError as error:
        return Finding("ROS", False, str(error))
    except OSError:
        return Finding("ROS", True, f"{source}; not checked against {wheels.LOCK}, no checkout")
    return Finding("ROS", True, f"{source}; Python {sys.version.split()[0]}, {sys.executable}")


def messages() -> Finding:
    """Whether the generated messages are there."""
    if util.find_spec(f"{PACKAGE}.msg") is None:
        return Finding("messages", False, f"{PACKAGE}.msg is not built: run make, or colcon build")
    return Finding("messages", True, f"{PACKAGE}.msg and .action are built")


def middleware() -> Finding:
    """Which one carries the messages; asked in another process, where a broken one cannot hurt."""
    ok, told = _ask("from vla_infoentropy_ros.nodes.middleware import rmw_name; print(rmw_name())")
    if not ok:
        return Finding("middleware", False, told)
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST for our nodes")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return Finding("middleware", True, f"{told}, domain {domain}, discovery {reach}")


def shared_memory(folder: Path = SHARED_MEMORY) -> Finding:
    """Whether images can go through shared memory, and what killed nodes have left there."""
    name = "shared memory"
    if not os.access(folder, os.W_OK):
        return Finding(name, False, f"{folder} cannot be written: images go over UDP and some are "
                       "lost; mount it (docker run --ipc=host, or --shm-size=256m)")
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    left = [path for path in folder.glob(_SEGMENTS) if _abandoned(path)]
    if free < _PROFILE_BYTES:
        return Finding(name, False, f"{folder} has {free >> 20} MB free, two nodes need "
                       f"{_PROFILE_BYTES >> 20}: enlarge it (docker run --shm-size=256m)"
                       + (f", or remove what killed nodes left: rm {folder}/{_SEGMENTS}"
                          if left else ""))
    text = f"{folder}, {free >> 20} MB free"
    if left:
        text += (f"; {len(left)} files of nodes that were killed: with no ROS program running, "
                 f"rm {folder}/{_SEGMENTS} frees them")
    return Finding(name, True, text)


def torch_and_device() -> Finding:
    """Releases of torch and transformers, and what computes."""
    ok, told = _ask(
        "import torch; from vla_infoentropy_ros.engine.requirements import check_transformers; "
        "check_transformers(); n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
        "print(torch.__version__, ', '.join(torch.cuda.get_device_name(i) for i in range(n)) "
        "or f'no CUDA device, CPU with {torch.get_num_threads()} threads', sep='; ')",
        remedy="run make, or pip install the versions of setup.py",
    )
    if not ok:
        return Finding("torch", False, told)
    return Finding("torch", True, f"{told}; transformers {metadata.version('transformers')}")


def renderer() -> Finding:
    """Whether the simulator can draw."""
    ok, told = _ask("from vla_infoentropy_ros.sim.gl import load_mujoco, choose_backend; "
                    "m = load_mujoco(); print('MuJoCo', m.__version__, choose_backend())")
    return Finding("renderer", ok, told)


def memory(model: Path | None) -> Finding:
    """Free memory against what a checkpoint's weights take."""
    from vla_infoentropy_ros.models.environment import free_bytes, parse_device

    free = free_bytes(parse_device("cpu"))
    told = "unknown" if free is None else f"{free / 1e9:.1f} GB free"
    if model is None:
        return Finding("memory", True, f"{told}; --model FOLDER compares it with a checkpoint")
    try:
        needed = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    except OSError as error:
        return Finding("memory", False, f"{error.filename} cannot be read ({error.strerror}): "
                       "fetch the checkpoint again")
    if not needed:
        return Finding("memory", False, f"{model} holds no *.safetensors: name another folder")
    if free is not None and needed > free:
        return Finding("memory", False, f"{told}, the weights of {model} take {needed / 1e9:.1f}: "
                       "end other programs, or use device=cuda or a machine with more")
    return Finding("memory", True, f"{told}, the weights of {model} take {needed / 1e9:.1f} GB")


def _ask(code: str, remedy: str = "") -> tuple[bool, str]:
    """Run a line in a Python of its own: (worked, what it said last). remedy: of its failure."""
    try:
        done = subprocess.run(  # noqa: S603 - our own line
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=_ASK_S, check=False,
        )
    except subprocess.TimeoutExpired:
        return False, (f"no answer within {_ASK_S:g} s, which a busy machine explains: try again; "
                       "on an idle one the import hangs")
    told = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    said = re.sub(r"^[\w.]+Error: ", "", told[-1]) if told else "no word"
    worked = done.returncode == 0
    return worked, one_line(said, MESSAGE) + (f": {remedy}" if remedy and not worked else "")


def _abandoned(path: Path) -> bool:
    """A segment that no process has mapped, of those that may be looked at."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(path) in (entry / "maps").read_text(encoding="utf-8", errors="replace"):
                return False
        except OSError:
            continue  # gone, or another user's
    return True
