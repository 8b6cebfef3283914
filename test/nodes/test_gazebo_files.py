# SPDX-License-Identifier: Apache-2.0
"""World, bridge, launch file and gantry_node name the same things; the world is the tabletop's."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from vla_infoentropy_ros.nodes.gantry_node import AXES
from vla_infoentropy_ros.nodes.policy_link import BASE_FRAME
from vla_infoentropy_ros.sim import scene

ROOT = Path(__file__).parents[2]
SDF = ROOT / "config" / "tabletop.sdf"
WORLD = ElementTree.parse(SDF).getroot().find("world")
MODELS = {model.get("name"): model for model in WORLD.iter("model")}
GANTRY = MODELS["gantry"]
JOINTS = {joint.get("name"): joint for joint in GANTRY.iter("joint")}
LAUNCH = ElementTree.parse(ROOT / "launch" / "gazebo.launch.xml").getroot()
BRIDGE = yaml.safe_load((ROOT / "config" / "gazebo_bridge.yaml").read_text())
TO_GAZEBO = {each["ros_topic_name"]: each for each in BRIDGE if each["direction"] == "ROS_TO_GZ"}
FROM_GAZEBO = {each["ros_topic_name"]: each for each in BRIDGE if each["direction"] == "GZ_TO_ROS"}
COMMAND = yaml.safe_load((ROOT / "config" / "gazebo.yaml").read_text())["/**"]["ros__parameters"]


def numbers(element: ElementTree.Element, path: str) -> list[float]:
    found = element.find(path)
    assert found is not None and found.text, path
    return [float(part) for part in found.text.split()]


def size(model: str) -> list[float]:
    return numbers(MODELS[model], ".//visual//box/size")


def test_siblings_have_names_of_their_own() -> None:
    """As SDF wants it: of one kind or not."""
    for element in WORLD.iter():
        names = [child.get("name") for child in element if child.get("name")
                 and child.tag != "plugin"]  # fmt: skip
        assert len(names) == len(set(names)), f"{element.get('name')}: {sorted(names)}"


@pytest.mark.skipif(not any(map(shutil.which, ("gz", "ign"))), reason="sdformat is not installed")
def test_sdformat_takes_the_world() -> None:
    tool = "gz" if shutil.which("gz") else "ign"
    done = subprocess.run([tool, "sdf", "-k", str(SDF)], capture_output=True, text=True)
    assert "Valid" in done.stdout + done.stderr and "Error" not in done.stdout + done.stderr


def test_sizes_and_colours_are_those_of_the_tabletop() -> None:
    cubes = [name for name in MODELS if name.startswith("cube_")]
    plates = [name for name in MODELS if name.startswith("plate_")]
    assert len(cubes) == 3 and len(plates) == 2
    for name in cubes:
        assert size(name) == pytest.approx([2 * scene.CUBE_HALF] * 3)
        colour = scene.CUBE_COLOURS[name.removeprefix("cube_")]
        assert numbers(MODELS[name], ".//diffuse")[:3] == pytest.approx(colour)
        assert numbers(MODELS[name], "pose")[2] == scene.CUBE_HALF
    for name in plates:
        assert numbers(MODELS[name], ".//visual//radius") == [scene.PLATE_RADIUS]
        assert numbers(MODELS[name], ".//visual//length") == [scene.PLATE_HEIGHT]
        colour = scene.PLATE_COLOURS[name.removeprefix("plate_")]
        assert numbers(MODELS[name], ".//diffuse")[:3] == pytest.approx(colour)
    for name in cubes + plates:
        x, y = numbers(MODELS[name], "pose")[:2]
        assert np.all((x, y) >= scene.LAYOUT_LOW) and np.all((x, y) <= scene.LAYOUT_HIGH)


def test_the_camera_is_that_of_the_tabletop() -> None:
    camera, model = scene.Camera(), MODELS["camera"]
    x, y, z, roll, pitch, yaw = numbers(model, "pose")
    assert (x, y, z) == camera.position and roll == 0.0
    ahead = np.array(camera.target) - camera.position
    assert pitch == pytest.approx(math.atan2(-ahead[2], abs(ahead[0])), abs=1e-3)
    assert yaw == pytest.approx(math.pi, abs=1e-4)
    (fov,) = numbers(model, ".//horizontal_fov")
    assert fov == pytest.approx(math.radians(camera.fovy), abs=1e-4)
    assert numbers(model, ".//image/width") == numbers(model, ".//image/height") == [224.0]


def test_the_gantry_stands_at_home_and_moves_in_the_workspace() -> None:
    (hand,) = (link for link in GANTRY.iter("link") if link.get("name") == "hand")
    assert tuple(numbers(hand, "pose")[:3]) == scene.GANTRY_HOME
    for index, axis in enumerate(AXES[:3]):
        low, high = (numbers(JOINTS[axis], f".//{end}")[0] for end in ("lower", "upper"))
        home = scene.GANTRY_HOME[index]
        assert home + low == pytest.approx(scene.WORKSPACE_LOW[index])
        assert home + high == pytest.approx(scene.WORKSPACE_HIGH[index])
        assert numbers(JOINTS[axis], ".//axis/xyz") == list(np.eye(3)[index])
    assert COMMAND["command.workspace_low"] == list(scene.WORKSPACE_LOW)
    assert COMMAND["command.workspace_high"] == list(scene.WORKSPACE_HIGH)
    for side in ("left", "right"):
        assert numbers(JOINTS[f"finger_{side}"], ".//upper") == [scene.FINGER_OPEN]
        name = f"finger_{side}_link"
        (link,) = (each for each in GANTRY.iter("link") if each.get("name") == name)
        assert link.find("collision") is not None, "it grasps by contact"


def test_every_joint_is_held_at_the_set_point_of_its_topic() -> None:
    """A position, not a velocity: what stops coming stops the hand."""
    held = {
        plugin.findtext("joint_name"): plugin.findtext("topic")
        for plugin in GANTRY.iter("plugin")
        if plugin.get("name") == "gz::sim::systems::JointPositionController"
    }
    assert held == {
        **{axis: f"/gantry/{axis}" for axis in AXES},
        "finger_left": "/gantry/fingers",
        "finger_right": "/gantry/fingers",
    }
    assert {each["gz_topic_name"] for each in TO_GAZEBO.values()} == set(held.values())
    for name, entry in TO_GAZEBO.items():
        assert entry["gz_topic_name"] == f"/{name}"
        kinds = entry["ros_type_name"], entry["gz_type_name"]
        assert kinds == ("std_msgs/msg/Float64", "gz.msgs.Double")


def test_what_gazebo_tells_is_bridged() -> None:
    (topic,) = (sensor.findtext("topic") for sensor in WORLD.iter("sensor"))
    assert FROM_GAZEBO["image"]["gz_topic_name"] == topic
    state = f"/world/{WORLD.get('name')}/model/gantry/joint_state"
    assert FROM_GAZEBO["joint_states"]["gz_topic_name"] == state
    assert any(plugin.get("name") == "gz::sim::systems::JointStatePublisher"
               for plugin in GANTRY.iter("plugin"))  # fmt: skip
    assert FROM_GAZEBO.keys() == {"/clock", "image", "joint_states"}


def test_all_processes_live_in_simulated_time_and_end_together() -> None:
    started = [*LAUNCH.iter("node"), *LAUNCH.iter("executable")]
    for each in started:
        if ".record" not in each.get("cmd", ""):
            assert each.get("on_exit") == "shutdown", each.attrib
    for node in LAUNCH.iter("node"):
        given = {param.get("name"): param.get("value") for param in node.iter("param")}
        assert given["use_sim_time"] == "true", node.get("name")
    assert COMMAND["command.base_frame"] == BASE_FRAME
