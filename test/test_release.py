# SPDX-License-Identifier: Apache-2.0
"""A release says the same everywhere, and holds what it needs to be set up."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

from test.trees import SOURCE

PACKAGE = parse_package(str(SOURCE / "package.xml"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy: setuptools writes beside what it builds."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in SOURCE.iterdir():
        if path.name not in (".git", ".venv", "out", "build", "docs", "test"):
            (copy / path.name).symlink_to(path)
    code = f"import setuptools.build_meta as build; build.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return zipfile.ZipFile(made)


def test_the_version_is_one() -> None:
    assert f'version="{PACKAGE.version}"' in (SOURCE / "setup.py").read_text()
    assert f"| version | {PACKAGE.version}," in (SOURCE / "QUALITY_DECLARATION.md").read_text()


def test_the_oldest_python_that_pip_takes_it_for_can_read_it() -> None:
    """Its syntax, and names of typing that a module needs as it is imported."""
    (minor,) = re.findall(r'python_requires=">=3\.(\d+)"', (SOURCE / "setup.py").read_text())
    assert minor == "10", "correct the names below"
    newer = {"LiteralString", "Never", "NotRequired", "Required", "Self", "TypeVarTuple", "Unpack",
             "assert_never", "assert_type", "override", "reveal_type", "dataclass_transform"}
    for path in sorted((SOURCE / "vla_infoentropy_ros").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, int(minor)))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "typing":
                assert not newer.intersection(each.name for each in node.names), path


def test_bloom_can_read_it() -> None:
    """catkin_pkg is what bloom reads package.xml and the changelog by."""
    changelog = get_changelog_from_path(str(SOURCE))
    assert changelog is not None
    releases = [(version, date) for version, date, _ in changelog.foreach_version(reverse=True)]
    assert [version for version, _ in releases] == ["0.3.0", "0.2.0", "0.1.0"]
    assert releases[0][0] == PACKAGE.version and all(date is not None for _, date in releases)
    PACKAGE.validate()
    assert PACKAGE.licenses and PACKAGE.maintainers and PACKAGE.description


def test_a_wheel_holds_what_its_set_up_builds_and_launches(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    share = next(name for name in names if name.endswith("share/vla_infoentropy_ros/package.xml"))
    place = Path(share).parent
    for pattern in ("CMakeLists.txt", "requirements-ros.lock", "msg/*.msg", "action/*.action",
                    "launch/*.xml", "config/**/*.yaml", "config/arms/*.urdf",
                    "scripts/*_msgs/CMakeLists.txt", "scripts/*_msgs/*/*.*"):
        for path in SOURCE.glob(pattern):
            assert str(place / path.relative_to(SOURCE)) in names, path
    for path in (SOURCE / "vla_infoentropy_ros").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(SOURCE)) in names, path


def test_a_source_distribution_holds_what_colcon_builds() -> None:
    told = (SOURCE / "MANIFEST.in").read_text()
    installed = (SOURCE / "CMakeLists.txt").read_text()
    for folder in re.findall(r"(?:GLOB \w+|DIRECTORY) .*?(launch|executables|msg)", installed):
        assert f"graft {folder}" in told
    assert "package.xml" in told and "CMakeLists.txt" in told
