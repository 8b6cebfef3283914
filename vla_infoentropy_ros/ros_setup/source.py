# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 this environment uses. The only place that decides it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import SetupError

OTHER_WAYS = (
    "install ROS 2 Jazzy (on a Jetson or another aarch64 from its packages, on macOS from "
    "RoboStack), source its setup file and run make again"
)


@dataclass(frozen=True)
class Source:
    """Where ROS 2 comes from.

    sourced: prefixes of ``AMENT_PREFIX_PATH`` that hold rclpy, nearest first; empty: the wheels.
    distribution: such as ``jazzy``.
    """

    sourced: tuple[Path, ...]
    distribution: str

    def __post_init__(self) -> None:
        if not self.distribution:
            raise ValueError("distribution is empty")

    def __str__(self) -> str:
        if self.sourced:
            return f"ROS 2 {self.distribution}, sourced from {self.sourced[0]}"
        return f"ROS 2 {self.distribution}, wheels of requirements-ros.lock in {sys.prefix}"


def find_source(environment: Mapping[str, str] = os.environ, machine: str | None = None) -> Source:
    """A sourced ROS 2 if there is one, else the wheels.

    environment: of the process. machine: ``system-architecture``, by default of this machine.
    Raises SetupError where the sourced one is for another Python, or no wheels exist.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found: list[tuple[Path, str]] = []
    others: list[tuple[Path, str]] = []
    prefixes = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in map(Path, filter(None, prefixes)):
        if prefix == Path(sys.prefix):
            continue
        for package in sorted(prefix.glob("l*/**/python3*/*-packages/rclpy")):
            folder = package.parents[1].name
            (found if folder in (version, "python3") else others).append((prefix, folder))
    if found:
        return Source(
            tuple(dict.fromkeys(prefix for prefix, _ in found)),
            environment.get("ROS_DISTRO") or "of unknown name",
        )
    if others:
        prefix, folder = others[0]
        raise SetupError(
            f"the sourced ROS 2 in {prefix} is for {folder}, this is {version}: remove .venv and "
            f"name its interpreter (make PYTHON={folder}), or use a shell without ROS sourced"
        )
    if environment.get("AMENT_PREFIX_PATH") and environment.get("ROS_DISTRO"):
        raise SetupError(
            f"ROS {environment['ROS_DISTRO']} is sourced, but no rclpy is in its prefixes: install "
            f"ros-{environment['ROS_DISTRO']}-rclpy, or use a shell without ROS sourced"
        )
    machine = machine or f"{platform.system()}-{platform.machine()}"
    if machine != "Linux-x86_64":
        raise SetupError(f"there are no ROS 2 wheels for {machine}: {OTHER_WAYS}")
    return Source((), "jazzy")
