# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros.ros_setup``: ROS 2 and our messages, in this environment.

Safe to repeat and to interrupt: what is done is not done again.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_infoentropy_ros.share import PACKAGE, share_directory

from . import wheels
from .errors import SetupError
from .interfaces import build
from .source import Source, find_source

_NOT_BUILT = ("launch", "config")  # they are installed already

def main(argv: Sequence[str] = ()) -> int:
    """Set up, and say in one line which ROS 2 is used; 1 with a sentence where that fails."""
    argparse.ArgumentParser(prog=f"python -m {PACKAGE}.ros_setup",
                            description=__doc__).parse_args(argv)
    try:
        if sys.prefix == sys.base_prefix:
            raise SetupError("this is no virtual environment: run make, which makes one")
        source = find_source()
        print(f"set-up: {source}", flush=True)
        prefix = Path(sys.prefix).resolve()
        root = _sources(prefix)
        if not source.sourced:
            _install_wheels(prefix, root)
        _build_interfaces(prefix, root, source)
    except SetupError as error:
        print(f"set-up stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _sources(prefix: Path) -> Path:
    """What is built: the checkout; of an installed package a copy of what it brought, as the build
    installs into the folder where that lies."""
    root = share_directory()
    if not (root / "CMakeLists.txt").is_file():
        raise SetupError(
            f"{root} was installed by colcon: source the setup file of its workspace instead"
        )
    if (root / PACKAGE).is_dir():
        return root
    copy = prefix / "build" / "sources" / PACKAGE
    shutil.copytree(root, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_BUILT))
    return copy


def _install_wheels(prefix: Path, root: Path) -> None:
    lock = root / wheels.LOCK
    done, text = prefix / "build" / "wheels.lock", lock.read_text(encoding="utf-8")
    recorded = done.is_file() and done.read_text(encoding="utf-8") == text
    if not recorded or wheels.differences(lock):
        done.unlink(missing_ok=True)  # until all is done, the repairs too
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["--no-deps", "--require-hashes", "-r", str(lock)]
        if subprocess.run(install, check=False).returncode:
            raise SetupError(f"the wheels of {lock.name} could not be installed; see above")
        wheels.prepare(prefix)
        done.parent.mkdir(exist_ok=True)
        done.write_text(text, encoding="utf-8")
    wheels.check_generation(lock)


def _build_interfaces(prefix: Path, root: Path, source: Source) -> None:
    """Of others' packages, what the wheels lack and what was built here before; then ours."""
    lacking = [
        project
        for project in sorted(root.glob("scripts/*_msgs"))
        if importlib.util.find_spec(project.name) is None
        or (prefix / "build" / project.name).is_dir()
    ]
    for project in (*lacking, root):
        if build(project, prefix, source):
            print(f"set-up: messages of {project.name} built", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
