# SPDX-License-Identifier: Apache-2.0
"""`make test` and `colcon test` test what CMakeLists.txt installs, and nothing is missing there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.trees import IMPORTED, SOURCE
from vla_infoentropy_ros.share import PACKAGE, share_directory

pytestmark = pytest.mark.skipif(
    os.environ.get("TESTED_TREE") != "installed",
    reason="the source tree is tested here; make test tests the installed one",
)


def files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield str(path.relative_to(folder))


def test_it_is_imported_here_and_in_children() -> None:
    assert IMPORTED != SOURCE / PACKAGE
    code = f"import {PACKAGE}.share; print({PACKAGE}.share.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()).parent == IMPORTED


def test_no_module_and_no_weights_are_missing() -> None:
    missing = set(files(SOURCE / PACKAGE)) - set(files(IMPORTED))
    assert not missing


@pytest.mark.parametrize("folder", ["launch", "config", "msg", "action"])
def test_no_shared_file_is_missing(folder: str) -> None:
    assert share_directory() != SOURCE
    assert list(files(SOURCE / folder)), "nothing to compare"
    assert not set(files(SOURCE / folder)) - set(files(share_directory() / folder))


def test_the_executables_can_be_started_by_ros2_run() -> None:
    for name in files(SOURCE / "executables"):
        installed = share_directory().parents[1] / "lib" / PACKAGE / name
        assert os.access(installed, os.X_OK), installed
