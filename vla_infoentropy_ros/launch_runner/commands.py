# SPDX-License-Identifier: Apache-2.0
"""Turns processes of a launch file into command lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from vla_infoentropy_ros.share import PACKAGE

from .description import ParameterFile, Process
from .xml_tree import LaunchError

_SOURCE_ROOT = Path(__file__).parents[2]


def available_executables() -> list[str]:
    """Nodes of this package that can be started."""
    return sorted(path.stem for path in (_SOURCE_ROOT / PACKAGE / "nodes").glob("*_node.py"))


def command_line(process: Process, scratch: Path, index: int) -> list[str]:
    """Return the command of a process; inline parameters go to a file in ``scratch``. Raises
    LaunchError for a program that there is not."""
    if not process.package:
        return list(process.arguments)
    command = _program(process)
    command += process.arguments
    command += ["--ros-args"]
    if process.name:
        command += ["-r", f"__node:={process.name}"]
    if process.namespace:
        command += ["-r", f"__ns:={process.namespace}"]
    for number, (path, inline) in enumerate(_grouped(process.parameters)):
        if path is None:
            # A file keeps the types apart: on the command line the text "1.0" would be a number.
            path = str(scratch / f"{index}_{process.executable}_{number}.yaml")
            data = {"/**": {"ros__parameters": inline}}
            Path(path).write_text(yaml.safe_dump(data), encoding="utf-8")
        command += ["--params-file", path]
    for source, target in process.remaps:
        command += ["-r", f"{source}:={target}"]
    return command


def _program(process: Process) -> list[str]:
    """Our own nodes by this interpreter, others where AMENT_PREFIX_PATH has them."""
    if process.package == PACKAGE:
        if process.executable in available_executables():
            return [sys.executable, "-m", f"{PACKAGE}.start_node", process.executable]
        raise LaunchError(
            f"{process.where}: {PACKAGE} has no executable '{process.executable}'. "
            f"Available: {', '.join(available_executables()) or 'none'}"
        )
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        program = Path(prefix, "lib", process.package, process.executable)
        if os.access(program, os.X_OK):
            return [str(program)]
    raise LaunchError(
        f"{process.where}: no package '{process.package}' with a program '{process.executable}' "
        "in AMENT_PREFIX_PATH; install it and source the ROS 2 that it is installed in."
    )


def environment(process: Process) -> dict[str, str]:
    """Environment of a process: output unbuffered, this package importable."""
    result = {"PYTHONUNBUFFERED": "1", **process.environment}
    path = result.get("PYTHONPATH", "")
    if str(_SOURCE_ROOT) not in path.split(os.pathsep):
        result["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_SOURCE_ROOT), path)))
    return result


def _grouped(parameters: tuple[Any, ...]) -> list[tuple[str | None, dict[str, Any]]]:
    """Join neighbouring inline values, so that files and values keep their order."""
    groups: list[tuple[str | None, dict[str, Any]]] = []
    for item in parameters:
        if isinstance(item, ParameterFile):
            groups.append((item.path, {}))
            continue
        if not groups or groups[-1][0] is not None:
            groups.append((None, {}))
        name, value = item
        groups[-1][1][name] = value
    return groups
