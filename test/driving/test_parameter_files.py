# SPDX-License-Identifier: Apache-2.0
"""A parameter file that is none, or for another node, ends the start with a sentence."""

import os

import pytest

from vla_infoentropy_ros.driving.parameter_files import ParameterFile, StartupError
from vla_infoentropy_ros.nodes.runtime import run

LIMIT = "  ros__parameters:\n    command.rate_hz: 20.0\n"


@pytest.fixture
def written(tmp_path):
    """A file of this content, as the node reads it."""

    def write(content):
        path = tmp_path / "robot.yaml"
        path.write_text(content)
        return ParameterFile.read(str(path))

    return write


def test_values_stand_under_full_names_however_they_are_nested(written):
    file = written(
        "/**:\n  ros__parameters:\n    command: {rate_hz: 20.0, base_frame: base}\n    seed: 1\n"
    )
    (section,) = file.sections
    assert section.values == {"command.rate_hz": 20.0, "command.base_frame": "base", "seed": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: [", "cannot be read as YAML"),
        ("? [a, b]\n: 1\n", "cannot be read as YAML.*unhashable"),
        ("!!map a\n", "cannot be read as YAML.*expected a mapping"),
        ("a: &a [1]\nb: *a", "at most 0 are taken"),
        ("[" * 1000, "at most 64 are taken"),
        ("/**:\n  ros__parameters:\n    command.base_frame:\n", "command.base_frame has no value"),
        ("/**:\n  ros__parameters:\n    command:\n      rate_hz: ~\n", "command.rate_hz has no"),
        ("/**:\n  ros__parameters:\n    selection.cache_layers: [2, ]\n    a: [~]", "a has no val"),
        (f"/**:\n{LIMIT}/**:\n{LIMIT}", "'/\\*\\*' stands twice.* line 4"),
        (f"/**:\n{LIMIT}    command.rate_hz: 50.0\n", "'command.rate_hz' stands twice"),
        (f"/**:\n{LIMIT}    command:\n      rate_hz: 50.0\n", "'command.rate_hz' stands twice"),
    ],
)
def test_what_is_no_yaml_or_no_value_is_refused(written, content, told):
    with pytest.raises(StartupError, match=told):
        written(content)


@pytest.mark.parametrize(
    ("section", "node"),
    [
        ("/**", "/policy_node"),
        ("/**", "/a/b/policy_node"),
        ("policy_node", "/policy_node"),
        ("/policy_node", "/policy_node"),
        ("/sim/policy_node", "/sim/policy_node"),
        ("/*/policy_node", "/sim/policy_node"),
        ("/**/policy_node", "/policy_node"),
        ("/sim/**", "/sim/policy_node"),
    ],
)
def test_a_section_is_for_the_nodes_that_its_name_stands_for(written, section, node):
    assert written(f"{section}:\n{LIMIT}").check(node) == ""


def test_a_namespace_may_be_a_level_of_its_own(written):
    file = written("sim:\n  policy_node:\n    ros__parameters:\n      command.rate_hz: 20.0\n")
    assert file.check("/sim/policy_node") == ""


@pytest.mark.parametrize(
    ("section", "node"),
    [
        ("policy_nod", "/policy_node"),
        ("policy_node", "/sim/policy_node"),
        ("/*", "/sim/policy_node"),
        ("/sim/policy_node", "/policy_node"),
    ],
)
def test_a_file_for_other_nodes_alone_ends_the_start(written, section, node):
    with pytest.raises(StartupError) as caught:
        written(f"{section}:\n{LIMIT}").check(node)
    assert f"is for this node, {node}: it has {section}" in str(caught.value)


@pytest.mark.parametrize("content", ["", "# all of it\n# is gone\n", "[1, 2]", "policy_node:\n"])
def test_a_file_without_parameters_ends_the_start(written, content):
    """One that was cut off would drop a robot's limits."""
    with pytest.raises(StartupError, match=r"robot.yaml holds no parameters"):
        written(content).check("/policy_node")


def test_a_section_beside_ours_that_looks_like_it_is_told(written):
    file = written(f"/**:\n{LIMIT}policy_nod:\n{LIMIT}servo_node:\n{LIMIT}")
    assert "policy_nod, servo_node is not for this node, /policy_node" in file.check("/policy_node")
    file = written(f"/**:\n{LIMIT}camera:\n{LIMIT}")
    assert file.check("/policy_node") == ""


def test_a_start_is_not_held(tmp_path, capfd):
    os.mkfifo(tmp_path / "fifo")
    for path, told in ((tmp_path / "fifo", "is a FIFO"), ("/dev/zero", "is a device"),
                       (tmp_path / "none", "No such file"), ("a\0b", "cannot be read")):
        arguments = ["policy_node", "--ros-args", "-r", "__ns:=/a", "--params-file", str(path)]
        assert run("policy_node", lambda: pytest.fail("started"), arguments) == 1
        err = capfd.readouterr().err
        assert "cannot start: " in err and told in err and "Traceback" not in err
