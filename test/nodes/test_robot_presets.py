# SPDX-License-Identifier: Apache-2.0
"""The presets of robots: accepted, and true of the models that are at hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.control.kinematics import Chain
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings

ROOT = Path(__file__).parents[2]
PRESETS = {
    path.stem: yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    for path in sorted((ROOT / "config" / "robots").glob("*.yaml"))
}
SERVO = yaml.safe_load((ROOT / "config" / "servo.yaml").read_text())["/**"]["ros__parameters"]
NAMED = [name for name in PRESETS if name != "other"]


def urdf(name: str) -> str:
    return (ROOT / "config" / "arms" / f"{name}.urdf").read_text()


def test_the_launch_file_offers_each() -> None:
    launch = ElementTree.parse(ROOT / "launch" / "servo.launch.xml").getroot()
    (robot,) = (arg for arg in launch.iter("arg") if arg.get("name") == "robot")
    assert [choice.get("value") for choice in robot.iter("choice")] == ["other", *NAMED]


@pytest.mark.parametrize("name", PRESETS)
def test_the_node_accepts_them_and_none_says_what_another_file_says(name) -> None:
    settings = PolicyNodeSettings.from_values(PRESETS[name] | SERVO).command
    assert settings.dry_run and settings.limit_workspace
    assert settings.max_linear_speed <= 0.25, "no first day is faster"
    assert not PRESETS[name].keys() & SERVO.keys()
    assert PRESETS[name].keys() == PRESETS["other"].keys()


@pytest.mark.parametrize("name", NAMED)
def test_each_says_from_where_its_values_are(name) -> None:
    assert "# Sources: " in (ROOT / "config" / "robots" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", NAMED)
def test_frames_and_box_are_those_of_the_arm(name) -> None:
    """Every corner of the box is within the arm's reach from its shoulder."""
    preset = PRESETS[name]
    chain = Chain.from_urdf(urdf(name), preset["command.base_frame"], preset["command.tool_frame"])
    rng = np.random.default_rng(0)
    low = np.maximum([joint.lower for joint in chain.movable], -np.pi)
    high = np.minimum([joint.upper for joint in chain.movable], np.pi)
    shoulder = list(chain.links(np.zeros(len(low))).values())[2][1]
    reach = max(
        float(np.linalg.norm(chain.forward(rng.uniform(low, high))[1] - shoulder))
        for _ in range(2000)
    )
    sides = zip(preset["command.workspace_low"], preset["command.workspace_high"], strict=True)
    for corner in itertools.product(*sides):
        assert np.linalg.norm(np.array(corner) - shoulder) < reach, (corner, reach)


@pytest.mark.parametrize("name", [name for name in NAMED if name in ARMS])
def test_the_hand_points_down_in_the_whole_box(name) -> None:
    arm, preset = ARMS[name], PRESETS[name]
    assert (preset["command.base_frame"], preset["command.tool_frame"]) == (arm.base, arm.tip)
    sides = zip(preset["command.workspace_low"], preset["command.workspace_high"], strict=True)
    for corner in itertools.product(*sides):
        joints = arm.reach(np.array(corner))
        for joint, position in zip(arm.chain.movable, joints, strict=True):
            assert joint.lower <= position <= joint.upper, (corner, joint.name, position)


@pytest.mark.parametrize("name", [name for name in NAMED if name in ARMS])
def test_the_gripper_is_told_what_it_takes(name) -> None:
    gripper, preset = ARMS[name].gripper, PRESETS[name]
    assert preset["command.gripper_action"] == gripper.action
    assert gripper.opening(preset["command.gripper_open_position"]) == 1.0
    assert gripper.opening(preset["command.gripper_closed_position"]) == 0.0
