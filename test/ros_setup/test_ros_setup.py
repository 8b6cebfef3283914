# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 is used, and what stops set-up, with environments made up for the purpose."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from vla_infoentropy_ros.ros_setup import __main__ as setup
from vla_infoentropy_ros.ros_setup import interfaces, wheels
from vla_infoentropy_ros.ros_setup.errors import SetupError
from vla_infoentropy_ros.ros_setup.source import Source, find_source

HERE = f"python{sys.version_info.major}.{sys.version_info.minor}"
WHEELS = Source((), "jazzy")


def installed(prefix: Path, python: str = HERE) -> dict[str, str]:
    """An environment in which a ROS 2 for that Python is sourced."""
    (prefix / "lib" / python / "site-packages" / "rclpy").mkdir(parents=True)
    return {"AMENT_PREFIX_PATH": f"/overlay{os.pathsep}{prefix}", "ROS_DISTRO": "jazzy"}


def test_a_sourced_ros_is_used(tmp_path: Path) -> None:
    source = find_source(installed(tmp_path), "Linux-aarch64")
    assert source.sourced == (tmp_path,) and f"jazzy, sourced from {tmp_path}" in str(source)


def test_without_one_the_wheels_are() -> None:
    assert find_source({}, "Linux-x86_64") == WHEELS


@pytest.mark.parametrize("machine", ["Linux-aarch64", "Darwin-arm64"])
def test_no_wheels_for_this_machine(machine: str) -> None:
    with pytest.raises(SetupError, match=f"no ROS 2 wheels for {machine}: .*RoboStack"):
        find_source({}, machine)


def test_a_ros_for_another_python(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"is for python3.8, this is .*make PYTHON=python3.8"):
        find_source(installed(tmp_path, "python3.8"), "Linux-x86_64")


def test_a_ros_without_rclpy(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="install ros-jazzy-rclpy"):
        find_source({"AMENT_PREFIX_PATH": str(tmp_path), "ROS_DISTRO": "jazzy"}, "Linux-x86_64")


def test_generations_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / wheels.LOCK
    lock.write_text("ros-rclpy==7.1.6 \\\n    --hash=sha256:00\nros-std-msgs==5.3.6 \\\n")

    def environment(**versions: str) -> None:
        monkeypatch.setattr(metadata, "distributions", lambda: [
            SimpleNamespace(metadata={"Name": name}, version=version)
            for name, version in versions.items()
        ])  # fmt: skip

    environment(ros_rclpy="7.1.6", ros_std_msgs="5.3.6", numpy="2.0")
    wheels.check_generation(lock)
    environment(ros_rclpy="9.1.2", ros_std_msgs="5.3.6")
    with pytest.raises(SetupError, match=r"ros-rclpy 9.1.2 instead of 7.1.6.*make again"):
        wheels.check_generation(lock)
    environment(ros_rclpy="7.1.6")
    with pytest.raises(SetupError, match="ros-std-msgs missing instead of"):
        wheels.check_generation(lock)


@pytest.mark.parametrize("spoilt", [False, True])
def test_wheels_are_installed_and_repaired_again_only_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: bool
) -> None:
    steps: list[str] = []

    def install(command: list[str], check: bool) -> SimpleNamespace:
        steps.append(command[-1])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(setup.subprocess, "run", install)
    monkeypatch.setattr(wheels, "prepare", lambda prefix: steps.append("prepare"))
    monkeypatch.setattr(wheels, "check_generation", lambda lock: steps.append("check"))
    monkeypatch.setattr(wheels, "differences", lambda lock: [])
    once = [str(tmp_path / wheels.LOCK), "prepare", "check"]
    (tmp_path / wheels.LOCK).write_text("ros-rclpy==7.1.6\n")
    setup._install_wheels(tmp_path, tmp_path)
    assert steps == once
    if spoilt:  # by a pip install of another generation
        monkeypatch.setattr(wheels, "differences", lambda lock: ["ros-rclpy 9.1.2"])
    setup._install_wheels(tmp_path, tmp_path)
    assert steps == once + (once if spoilt else ["check"])


def test_exported_files_name_the_headers_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "std_msgs" / "cmake" / "x.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(
        '"/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include;/kept"'
    )
    wheels._name_headers(tmp_path)
    import numpy

    assert file.read_text() == f'"{sysconfig.get_path("include")};{numpy.get_include()};/kept"'


@pytest.mark.parametrize(
    ("missing", "message"),
    [("c++ g++", "no C[+][+] compiler.*apt-get install g"), ("make", "no make.*install make")],
)
def test_missing_tools(monkeypatch: pytest.MonkeyPatch, missing: str, message: str) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing.split() else "/x")
    with pytest.raises(SetupError, match=message):
        interfaces._check_tools()


def test_missing_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: "/x")
    with pytest.raises(SetupError, match=r"Python.h is missing.*apt-get install python3\.\d+-dev"):
        interfaces._check_tools()


class TestBuilding:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        for name in ("CMakeLists.txt", "msg/A.msg", "launch/a.launch.xml"):
            (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "project" / name).write_text("1")
        return tmp_path / "project"

    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        steps: list[str] = []

        def run(prefix: Path, folder: Path, *command: str) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            steps.append(command[1])

        monkeypatch.setattr(interfaces, "_run", run)
        return steps

    def test_it_compiles_only_what_changed(self, project: Path, ran: list[str]) -> None:
        prefix = project.parent / "venv"
        assert interfaces.build(project, prefix, WHEELS)
        assert ran == ["-S", "--build", "--install"]
        assert not interfaces.build(project, prefix, WHEELS)
        (project / "launch" / "b.launch.xml").write_text("new")
        assert not interfaces.build(project, prefix, WHEELS)
        assert ran[3:] == ["--build", "--install"]
        (project / "msg" / "A.msg").write_text("2")
        assert interfaces.build(project, prefix, WHEELS)
        assert ran[5:] == ["-S", "--build", "--install"]

    def test_an_earlier_version_leaves_no_metadata(self, project: Path, ran: list[str]) -> None:
        prefix = project.parent / "venv"
        packages = prefix / "lib" / "python3.11" / "site-packages"
        for name in ("vla_infoentropy_ros-0.1.0-py3.11.egg-info", "other-1.0-py3.11.egg-info"):
            (packages / name).mkdir(parents=True)
            (packages / name / "PKG-INFO").touch()
        interfaces.build(project, prefix, WHEELS)  # messages of another package
        assert len(list(packages.iterdir())) == 2
        (project / "vla_infoentropy_ros").mkdir()
        (project / "msg" / "A.msg").write_text("2")
        interfaces.build(project, prefix, WHEELS)
        assert [path.name for path in packages.iterdir()] == ["other-1.0-py3.11.egg-info"]

    def test_a_removed_file_leaves_no_link(self, project: Path, ran: list[str]) -> None:
        (project / "vla_infoentropy_ros").mkdir()
        prefix, kept = project.parent / "venv", project / "launch" / "a.launch.xml"
        for folder in ("lib/python3.11/site-packages", "share", "lib"):
            place = prefix / folder / "vla_infoentropy_ros" / "robots"
            place.mkdir(parents=True)
            (place / "gone").symlink_to(project / "gone")
            (place / "kept").symlink_to(kept)
        interfaces.build(project, prefix, WHEELS)
        assert kept.is_file()
        assert {path.name for path in prefix.rglob("*") if path.is_symlink()} == {"kept"}

    def test_an_interrupted_build_goes_on(
        self, project: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prefix, run = project.parent / "venv", interfaces._run

        def interrupted(prefix: Path, folder: Path, *command: str) -> None:
            run(prefix, folder, *command)
            if command[1] == "--build":
                raise KeyboardInterrupt

        monkeypatch.setattr(interfaces, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            interfaces.build(project, prefix, WHEELS)
        monkeypatch.setattr(interfaces, "_run", run)
        assert interfaces.build(project, prefix, WHEELS)
        assert ran == ["-S", "--build", "-S", "--build", "--install"]

    def test_a_failed_step_names_its_log(self, project: Path) -> None:
        (project / "CMakeLists.txt").write_text("message(FATAL_ERROR no)\n")
        with pytest.raises(SetupError, match=r"cmake -S of project failed: read .*log.txt"):
            interfaces.build(project, project.parent / "venv", WHEELS)


def test_an_installed_package_is_built_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build installs into the folder where what pip installed lies."""
    share = tmp_path / "share" / "vla_infoentropy_ros"
    (share / "msg").mkdir(parents=True)
    (share / "launch").mkdir()
    monkeypatch.setattr(setup, "share_directory", lambda: share)
    with pytest.raises(SetupError, match="was installed by colcon: source"):
        setup._sources(tmp_path)
    (share / "CMakeLists.txt").touch()
    copy = setup._sources(tmp_path)
    assert copy == tmp_path / "build" / "sources" / "vla_infoentropy_ros"
    assert {path.name for path in copy.iterdir()} == {"CMakeLists.txt", "msg"}
    (share / "vla_infoentropy_ros").mkdir()
    assert setup._sources(tmp_path) == share, "a checkout"
