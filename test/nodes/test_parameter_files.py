# SPDX-License-Identifier: Apache-2.0
"""A parameter file that is none ends the start with a sentence, and does not hold it."""

import os

import pytest

from vla_infoentropy_ros.nodes.parameter_files import check_parameter_files
from vla_infoentropy_ros.nodes.runtime import StartupError, run


def _arguments(path):
    return ["policy_node", "--ros-args", "-r", "__ns:=/a", "--params-file", str(path), "--"]


def test_a_parameter_file_passes(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("/**:\n  ros__parameters:\n    command.rate_hz: 30.0\n")
    check_parameter_files(_arguments(path), StartupError)
    check_parameter_files(["--params-file"], StartupError)  # rclpy says what is missing


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: [", "cannot be read as YAML"),
        ("a: &a [1]\nb: *a", "at most 0 are taken"),
        ("[" * 1000, "at most 64 are taken"),
    ],
)
def test_what_is_no_yaml_is_refused(tmp_path, content, told):
    path = tmp_path / "robot.yaml"
    path.write_text(content)
    with pytest.raises(StartupError, match=told):
        check_parameter_files(_arguments(path), StartupError)


def test_a_start_is_not_held(tmp_path, capfd):
    os.mkfifo(tmp_path / "fifo")
    for path, told in ((tmp_path / "fifo", "is a FIFO"), ("/dev/zero", "is a device"),
                       (tmp_path / "none", "No such file"), ("a\0b", "cannot be read")):
        assert run("policy_node", lambda: pytest.fail("started"), _arguments(path)) == 1
        err = capfd.readouterr().err
        assert "cannot start: " in err and told in err and "Traceback" not in err
