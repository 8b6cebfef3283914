# SPDX-License-Identifier: Apache-2.0
"""Messages in a virtual environment, beside a ROS that is somewhere else."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from vla_infoentropy_ros.engine.requirements import RequirementError
from vla_infoentropy_ros.nodes import load_type_support


def test_libraries_beside_a_sourced_ros_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    (tmp_path / "lib").mkdir()
    kinds = "fastrtps", "introspection"
    names = [f"libown_msgs__rosidl_typesupport_{kind}_c.so" for kind in kinds]
    for name in (*names, "libown_msgs__rosidl_generator_c.so", "libother.so"):
        (tmp_path / "lib" / name).touch()
    sourced = Path("/opt/ros/jazzy/lib/python3.12/site-packages/rclpy/__init__.py")
    assert load_type_support(sourced, tmp_path) == [tmp_path / "lib" / name for name in names]
    assert loaded == [str(tmp_path / "lib" / name) for name in names]
    wheels = tmp_path / "lib" / "python3.12" / "site-packages" / "rclpy" / "__init__.py"
    assert load_type_support(wheels, tmp_path) == []


def test_messages_of_another_ros(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libown_msgs__rosidl_typesupport_fastrtps_c.so").write_bytes(b"no library")
    sourced = Path("/opt/ros/jazzy/lib/python3.12/site-packages/rclpy/__init__.py")
    with pytest.raises(RequirementError, match=r"built for another ROS than .*make again"):
        load_type_support(sourced, tmp_path)
