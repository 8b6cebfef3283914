# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on, without loading what is only asked for its version."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "transformers", "mujoco", "numpy", "ros-rclpy", "rosbags")


def hardware() -> dict[str, str | int | float]:
    """Processor, cores this process may use, memory, load before the run."""
    found: dict[str, str | int | float] = {
        "cpu": _cpu(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages / 2**30, 1)
        found["load_1min_at_start"] = round(os.getloadavg()[0], 2)
    except (OSError, ValueError):
        pass
    return found


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that decide about speed, and of the ROS distribution."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for name in ("vla_infoentropy_ros", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if "ROS_DISTRO" in os.environ:
        found["ros_distro"] = os.environ["ROS_DISTRO"]
    return found


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
