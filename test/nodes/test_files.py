# SPDX-License-Identifier: Apache-2.0
"""Files beside the code say what the code says."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from test.trees import child_path
from vla_infoentropy_ros import record
from vla_infoentropy_ros.driving.parameter_specs import group_specs
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.nodes.arm_settings import arm_specs
from vla_infoentropy_ros.nodes.gantry_node import GantrySettings
from vla_infoentropy_ros.nodes.parameter_docs import document
from vla_infoentropy_ros.nodes.sim_settings import SimSettings
from vla_infoentropy_ros.selection import SCHEDULES, SELECTORS

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.xml"))
CONFIGS = sorted(path for path in (ROOT / "config").glob("*.yaml")
                 if path.stem != "gazebo_bridge")


def test_the_parameter_page_is_generated_from_the_declarations():
    page = (ROOT / "docs" / "parameters.md").read_text()
    remedy = "python -m vla_infoentropy_ros.nodes.parameter_docs > docs/parameters.md"
    assert page.strip() == document().strip(), f"renew it: {remedy}"


@pytest.mark.parametrize(
    "spec",
    [*parameter_specs(), *arm_specs(), *group_specs("", GantrySettings)],
    ids=lambda spec: spec.name,
)
def test_every_parameter_is_documented(spec):
    assert spec.doc, "a parameter without documentation"
    if isinstance(spec.default, float | int) and not isinstance(spec.default, bool):
        assert spec.allowed, "a number without a range"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configurations_are_accepted_by_the_node(path):
    for node, content in yaml.safe_load(path.read_text()).items():
        if node != "sim_node":
            settings = PolicyNodeSettings.from_values(content["ros__parameters"])
            assert settings.node.selector in SELECTORS


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_arguments_are_described_and_complete(path):
    for argument in ElementTree.parse(path).getroot().iter("arg"):
        name = argument.get("name")
        if argument.get("value") is not None:
            continue  # passed on to an included file
        assert argument.get("description"), f"{name} has no description"
        choices = tuple(choice.get("value") for choice in argument.iter("choice"))
        if name == "schedule":
            assert choices == ("", *SCHEDULES), f"{name} offers {choices}"
        if name == "selector":  # and each with +window: the node judges
            assert all(each in argument.get("description") for each in SELECTORS)


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_set_only_parameters_that_exist(path):
    known = {
        "policy_node": {spec.name for spec in parameter_specs()} | {"use_sim_time"},
        "sim_node": {spec.name for spec in group_specs("", SimSettings)},
        "arm_node": {spec.name for spec in arm_specs()},
        "gantry_node": {"use_sim_time"},
    }
    for node in ElementTree.parse(path).getroot().iter("node"):
        for parameter in node.iter("param"):
            if node.get("pkg") == "vla_infoentropy_ros" and parameter.get("name"):
                assert parameter.get("name") in known[node.get("exec")]
        given = re.findall(r"([\w.]+):=", node.get("args", ""))
        assert set(given) <= known.get(node.get("exec"), set())
        assert bool(given) == (node.get("exec") == "policy_node")


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_simulation_cannot_command_a_robot(path):
    """Without dry run and without a person who decides about this robot: only in a namespace."""
    launch = ElementTree.parse(path).getroot()
    given = {arg.get("name"): arg.get("default") for arg in launch.iter("arg")}
    if "robot_file" not in given:  # it starts a robot, and leaves the decision to the operator
        assert given["enable_policy"] == "false"
        return
    config = yaml.safe_load((ROOT / "config" / Path(given["robot_file"]).name).read_text())
    if config["/**"]["ros__parameters"]["command.dry_run"]:
        return
    assert given["namespace"] == "sim"
    for node in launch.iter("node"):
        assert node.get("namespace") == "$(var namespace)", node.get("name")


def test_the_bridge_of_gazebo_stays_in_its_namespace():
    bridged = yaml.safe_load((ROOT / "config" / "gazebo_bridge.yaml").read_text())
    names = [entry["ros_topic_name"] for entry in bridged]
    assert [name for name in names if name.startswith("/")] == ["/clock"]
    assert {"image", "joint_states", "gantry/x"} < set(names)


def test_a_bag_plays_no_commands():
    launch = ElementTree.parse(ROOT / "launch" / "bag.launch.xml").getroot()
    played = launch.find("executable").get("cmd").partition("--topics")[2]
    assert set(re.findall(r"\$\(var (\w+)\)", played)) == {
        "image", "wrist_image", "third_image", "ee_pose", "joint_states", "instruction_topic"
    }


@pytest.mark.parametrize("name", ["vla", "servo", "sim", "gazebo"])
def test_a_recording_holds_what_replay_needs(name, tmp_path):
    """What the policy sees, hears and decides, from whoever started first."""
    launch = ElementTree.parse(ROOT / "launch" / f"{name}.launch.xml").getroot()
    given = {arg.get("name"): arg.get("default") for arg in launch.iter("arg")}
    assert given["record"] == "false"
    (recorder,) = (each for each in launch.iter("executable") if ".record" in each.get("cmd"))
    assert recorder.get("if") == "$(var record)"
    given |= {"namespace": "left"}
    command = re.sub(r"\$\(var (\w+)\)", lambda found: given[found[1]], recorder.get("cmd")).split()
    assert command[:3] == ["python3", "-m", "vla_infoentropy_ros.record"]
    fake = tmp_path / "ros2"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != --topics ]; do\n'
                    '  [ "$1" = --qos-profile-overrides-path ] && cat "$2" > qos\n'
                    '  echo "$1" >> options; shift\ndone\nshift; echo "$@" > topics\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": child_path()}
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True,
                   env=os.environ | environment)
    assert "--output\nrecording\n" in (tmp_path / "options").read_text()
    profiles = json.loads((tmp_path / "qos").read_text())
    topics = (tmp_path / "topics").read_text().split()
    names = {topic.removeprefix("/left/") for topic in topics}
    assert {name for name in names if name.startswith("/")} in (
        set(), {"/clock"}, {"/tf", "/tf_static"})
    camera = given.get("image", "image")
    assert {camera, "instruction", "action", "policy_node/selection", "policy_node/status"} <= names
    if "wrist_image" in given:  # a robot's own cameras and state, not a simulator's
        assert {"wrist_image", "third_image", "third_image/compressed", "ee_pose",
                "joint_states", "/tf", "/tf_static"} <= names
        assert profiles["/tf_static"]["durability"] == "transient_local"
        assert profiles["/left/third_image"] == profiles["/left/wrist_image"]
    assert profiles["/left/instruction"]["durability"] == "transient_local"
    assert profiles["/left/instruction"]["reliability"] == "reliable"
    assert profiles[f"/left/{camera}/compressed"]["reliability"] == "best_effort", "any camera"


def test_a_recording_without_ros_2_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert record.main(["--to", "recording", "--topics", "action"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: record:=true needs `ros2 bag record`") and told.count("\n") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "launch").iterdir()), ids=lambda path: path.name)
def test_several_robots_share_a_graph(path):
    """Every node is in a namespace that can be given, and no topic by default outside of it."""
    launch = ElementTree.parse(path).getroot()
    given = {arg.get("name"): arg.get("default") for arg in launch.iter("arg")}
    assert "namespace" in given
    for node in launch.iter("node"):
        assert node.get("namespace") == "$(var namespace)", node.get("name")
    topics = {name for remap in launch.iter("remap")
              for name in re.findall(r"\$\(var (\w+)\)", remap.get("to"))}
    absolute = {name for name in topics if given[name].startswith("/")}
    absolute |= {remap.get("to") for remap in launch.iter("remap") if remap.get("to")[0] == "/"}
    recorded = {"image", "wrist_image", "third_image", "instruction_topic", "ee_pose",
                "joint_states"}
    assert absolute == (recorded if path.name.startswith("bag") else set())


def test_views_show_topics_that_exist():
    """What RViz and Foxglove subscribe to is in the table of topics."""
    page = (ROOT / "docs" / "ros.md").read_text()
    layout = (ROOT / "config" / "foxglove_layout.json").read_text()
    json.loads(layout)
    view = yaml.safe_load((ROOT / "config" / "vla.rviz").read_text())
    topics = [
        display["Topic"]["Value"]
        for display in view["Visualization Manager"]["Displays"]
        if "Topic" in display
    ]
    topics += re.findall(r'"(?:imageTopic|topicPath|serviceName)": "([^"]+)"', layout)
    for topic in topics:
        name = topic.replace("/policy_node/", "~/").removeprefix("/")
        assert f"`{name}`" in page, topic


def test_views_can_be_turned_to_the_simulation(tmp_path):
    """By the commands in the documentation."""
    page = (ROOT / "docs" / "ros.md").read_text()
    shown = re.findall(r"Value: (/\S+)", (ROOT / "config" / "vla.rviz").read_text())
    assert set(re.findall(r"-r (/\S+):=/sim\1", page)) == set(shown)
    layout = ROOT / "config" / "foxglove_layout.json"
    script = re.search(r"^sed -E '(.+)' foxglove", page, re.M)[1]
    turned = subprocess.run(
        ["sed", "-E", script, str(layout)], check=True, capture_output=True, text=True
    ).stdout
    names = re.findall(r'": "(/[^"]+)"', turned)
    assert len(names) == len(re.findall(r'": "(/[^"]+)"', layout.read_text()))
    assert {name for name in names if not name.startswith("/sim/")} == {"/diagnostics"}


def test_every_stop_and_status_field_in_foxglove_exists():
    layout = (ROOT / "config" / "foxglove_layout.json").read_text()
    for topic, kind in (("status", "InferenceStatus"), ("selection", "TokenSelection")):
        message = (ROOT / "msg" / f"{kind}.msg").read_text()
        for name in re.findall(rf"policy_node/{topic}\.(\w+)", layout):
            assert re.search(rf"^\w+(\[\])? {name}\b", message, re.M), name
