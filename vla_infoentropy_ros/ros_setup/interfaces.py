# SPDX-License-Identifier: Apache-2.0
"""Messages and actions, built by CMakeLists.txt into the virtual environment.

The install step makes links, so that the installed package is the source tree. It is compiled
again only when its inputs change, and linked again when files come or go.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from .errors import SetupError
from .source import Source

PACKAGE = "vla_infoentropy_ros"
COMPILED = ("CMakeLists.txt", "package.xml", "msg/*.msg", "srv/*.srv", "action/*.action")
INSTALLED = (f"{PACKAGE}/**/*", "launch/*", "config/**/*", "executables/*")


def build(project: Path, prefix: Path, source: Source) -> bool:
    """Compile and install the CMake project of this folder into ``prefix`` where needed.

    Returns whether anything was compiled. Raises SetupError where a tool is missing or fails.
    """
    folder = prefix / "build" / project.name
    inputs = [sys.version, str(source), *_options(prefix), *_contents(project, COMPILED)]
    names = [str(path.relative_to(project)) for path in _files(project, INSTALLED)]
    compiled, linked = folder / "compiled.sha256", folder / "installed.sha256"
    # An interrupted build left no record, or one of other inputs: it goes on from what is there.
    compile_again = not _recorded(compiled, inputs)
    if compile_again:
        _check_tools()
        compiled.unlink(missing_ok=True)
        linked.unlink(missing_ok=True)
        _run(prefix, folder, "cmake", "-S", str(project), "-B", str(folder), *_options(prefix))
    if not _recorded(linked, names):
        # With nothing to compile this looks for new files only.
        _run(prefix, folder, "cmake", "--build", str(folder), "--parallel", str(os.cpu_count()))
        _record(compiled, inputs)
        if (project / PACKAGE).is_dir():
            _forget_what_was(prefix)
        _run(prefix, folder, "cmake", "--install", str(folder))
        _record(linked, names)
    return compile_again


def _forget_what_was(prefix: Path) -> None:
    """CMake leaves the metadata of an earlier version, which Python would read first, and links to
    files that are no more, which whoever lists a folder would meet."""
    for metadata in prefix.glob(f"lib/python*/site-packages/{PACKAGE}-*.egg-info"):
        shutil.rmtree(metadata)
    packages = prefix.glob(f"lib/python*/site-packages/{PACKAGE}")
    for folder in (*packages, prefix / "share" / PACKAGE, prefix / "lib" / PACKAGE):
        for path in folder.rglob("*"):
            if path.is_symlink() and not path.exists():
                path.unlink()


def _options(prefix: Path) -> list[str]:
    return [
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        f"-DCMAKE_INSTALL_RPATH={prefix / 'lib'}",  # its libraries find each other and the wheels'
        "-DCMAKE_BUILD_TYPE=Release",
        "-DAMENT_CMAKE_SYMLINK_INSTALL=ON",
        "-DBUILD_TESTING=OFF",
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]


def _check_tools() -> None:
    """Raise SetupError naming the package of a missing compiler or of missing headers."""
    if not any(shutil.which(name) for name in filter(None, (os.environ.get("CXX"), "c++", "g++"))):
        raise SetupError(
            "no C++ compiler, to build messages: on Debian or Ubuntu apt-get install g++ make"
        )
    if not shutil.which("make"):
        raise SetupError("no make, to build messages: on Debian or Ubuntu apt-get install make")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise SetupError(
            f"{header} is missing: on Debian or Ubuntu "
            f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-dev"
        )


def _run(prefix: Path, folder: Path, *command: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    paths = {
        name: os.pathsep.join(filter(None, (str(prefix), os.environ.get(name))))
        for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH")
    }
    search = os.pathsep.join((str(prefix / "bin"), os.environ.get("PATH", os.defpath)))
    program = shutil.which(command[0], path=search)
    if program is None:
        raise SetupError("no cmake, to build messages: pip install 'vla_infoentropy_ros[ros]'")
    with log.open("wb") as sink:
        done = subprocess.run(
            [program, *command[1:]],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,  # where ament writes the list of its links
            env={**os.environ, **paths, "PATH": search},
            check=False,
        )
    if done.returncode:
        raise SetupError(
            f"{' '.join(command[:2])} of {folder.name} failed: read {log}, and send it with the "
            "report if it does not name the cause"
        )


def _files(project: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        for path in sorted(project.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _contents(project: Path, patterns: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(project)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in _files(project, patterns)
    ]


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _recorded(record: Path, lines: list[str]) -> bool:
    return record.is_file() and record.read_text(encoding="utf-8") == _digest(lines)


def _record(record: Path, lines: list[str]) -> None:
    record.write_text(_digest(lines), encoding="utf-8")
