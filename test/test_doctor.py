# SPDX-License-Identifier: Apache-2.0
"""Each line of the doctor: ok, or its remedy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vla_infoentropy_ros import doctor
from vla_infoentropy_ros.engine.requirements import RequirementError
from vla_infoentropy_ros.nodes import check_domain, check_middleware


def test_this_environment_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.ros().ok and doctor.messages().ok
    assert "rmw_" in doctor.middleware().text


def test_the_exit_code_says_whether_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("messages", "middleware", "shared_memory", "torch_and_device", "renderer"):
        monkeypatch.setattr(doctor, name, lambda name=name: doctor.Finding(name, True, "well"))
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "ros", lambda: doctor.Finding("ROS", False, "install it"))
    assert doctor.main([]) == 1
    assert "FIX  ROS           install it" in capsys.readouterr().out


def test_a_middleware_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequirementError, match="'rmw_none_cpp' is not installed: unset it"):
        check_middleware({"RMW_IMPLEMENTATION": "rmw_none_cpp"})
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_none_cpp")
    finding = doctor.middleware()
    assert not finding.ok and finding.text.startswith("RMW_IMPLEMENTATION='rmw_none_cpp' is not")


def test_only_a_torch_that_fails_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", slow)
    finding = doctor.torch_and_device()
    assert not finding.ok and finding.text.startswith("no answer within 60 s, which a busy machine")
    assert "try again" in finding.text and "install" not in finding.text

    def broken(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ImportError: libfoo is missing")

    monkeypatch.setattr(subprocess, "run", broken)
    assert doctor.torch_and_device().text == (
        "libfoo is missing: run make, or pip install the versions of setup.py")


def test_a_middleware_of_an_overlay(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "librmw_own_cpp.so").touch()
    check_middleware({"RMW_IMPLEMENTATION": "rmw_own_cpp", "AMENT_PREFIX_PATH": str(tmp_path)})


@pytest.mark.parametrize("domain", ["233", "-1", "one", "1.5", " "])
def test_a_domain_that_is_none(domain: str) -> None:
    for well in ({}, {"ROS_DOMAIN_ID": ""}, {"ROS_DOMAIN_ID": "232"}):
        check_domain(well)
    with pytest.raises(RequirementError, match=r"must be a whole number in 0 \.\. 232"):
        check_domain({"ROS_DOMAIN_ID": domain})


def test_no_shared_memory(tmp_path: Path) -> None:
    finding = doctor.shared_memory(tmp_path / "none")
    assert not finding.ok and "--shm-size" in finding.text


def test_what_a_killed_node_left(tmp_path: Path) -> None:
    (tmp_path / "fastrtps_0123").touch()
    finding = doctor.shared_memory(tmp_path)
    assert finding.ok and "1 files of nodes that were killed" in finding.text
    assert f"rm {tmp_path}/fastrtps_*" in finding.text


def test_little_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = os.statvfs_result((4096, 4096, 10, 5, 5, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda folder: state)
    assert "two nodes need 32: enlarge" in doctor.shared_memory(tmp_path).text


def test_memory_against_a_checkpoint(tmp_path: Path) -> None:
    assert not doctor.memory(tmp_path).ok
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(10**13)  # sparse
    finding = doctor.memory(tmp_path)
    assert not finding.ok and "take 10000.0" in finding.text
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "gone")
    finding = doctor.memory(tmp_path)
    assert not finding.ok and "link.safetensors cannot be read (No such file" in finding.text
