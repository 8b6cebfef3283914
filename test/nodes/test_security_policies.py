# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policies grant what the running nodes use, and nothing else."""

import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from pathlib import Path

import pytest

from test.nodes.harness import FAST, Robot, parameters, until
from test.nodes.policies import LOAD
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.security_policies import (
    COMMANDS,
    GRIPPER,
    LAUNCHES,
    POLICY_NODE,
    SIM_NODE,
    commanding,
    expanded,
    main,
    policy_xml,
)
from vla_infoentropy_ros.nodes.sim_node import SimNode

pytestmark = pytest.mark.usefixtures("ros")

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = [
    {"model": f"{LOAD}:three_views", "image_transport": transport, "command.output": output,
     "command.dry_run": not output, "use_sim_time": output == "pose"}
    for transport, output in (("raw", "twist"), ("compressed", "pose"), ("raw", "trajectory"))
] + [
    {"command.output": "twist", "command.servo": "servo_node", "command.pose_source": "tf",
     "command.gripper_action": "hand/grip"},
    {"command.dry_run": True},
]


@contextmanager
def _policy_node(**changed):
    node = PolicyNode(parameter_overrides=parameters(FAST | changed))
    node.start()
    try:
        yield node
    finally:
        node.stop()
        node.destroy_node()


def _used(node):
    """Full names by permission, as another node sees them; an action is one name."""
    watcher, place = Robot(), (node.get_name(), node.get_namespace())
    # What stops the robot is a node of its own, in the same process and enclave.
    places = [place, (f"{place[0]}_stop", place[1])] if isinstance(node, PolicyNode) else [place]
    asked = {
        "publish": watcher.get_publisher_names_and_types_by_node,
        "subscribe": watcher.get_subscriber_names_and_types_by_node,
        "reply": watcher.get_service_names_and_types_by_node,
    }
    if hasattr(watcher, "get_client_names_and_types_by_node"):
        asked["request"] = watcher.get_client_names_and_types_by_node
    try:
        until(lambda: {*places} <= {*watcher.get_node_names_and_namespaces()}, "not seen")
        until(lambda: "/diagnostics" in dict(asked["publish"](*place))
              or "/clock" in dict(asked["publish"](*place)), "its topics are not seen")
        if isinstance(node, PolicyNode):
            until(lambda: len(asked["reply"](*places[1])) >= 3, "its operator's services are not")
        seen = {
            permission: {name for each in places for name in dict(ask(*each))}
            for permission, ask in asked.items()
        }
    finally:
        watcher.destroy_node()
    actions = {
        permission: {name.split("/_action/")[0] for name in seen[by] if "/_action/" in name}
        for permission, by in (("execute", "reply"), ("call", "request")) if by in seen
    }
    plain = {permission: {name for name in names if "/_action/" not in name}
             for permission, names in seen.items()}
    return plain | actions


def _granted(rights, node, permission):
    return {expanded(name, "/", node, {}) for name in getattr(rights, permission)}


def test_the_policy_node_uses_what_it_is_granted_and_no_more():
    commands = {f"/{name}" for name in (*COMMANDS.values(), GRIPPER)}
    unused = {}
    for changed in CONFIGURATIONS:
        with _policy_node(**changed) as node:
            command = node.driver.settings.command
            rights = POLICY_NODE if command.dry_run else commanding(command)
            for permission, names in _used(node).items():
                granted = _granted(rights, "policy_node", permission)
                assert names <= granted, (permission, changed)
                unused[permission] = unused.get(permission, granted) - names
                if permission == "publish":
                    assert names & commands == granted & commands
    # What tells of its types is served by newer distributions only.
    assert unused.pop("reply") <= {"/policy_node/get_type_description"}
    assert not any(unused.values()), unused


def test_the_simulator_uses_what_it_is_granted_and_no_more():
    node = SimNode(parameter_overrides=parameters({"image_size": 32}))
    try:
        used = _used(node)
    finally:
        node.destroy_node()
    for permission in ("publish", "subscribe"):
        assert used[permission] == _granted(SIM_NODE, "sim_node", permission), permission
    granted = _granted(SIM_NODE, "sim_node", "reply")
    assert granted - used["reply"] <= {"/sim_node/get_type_description"}
    assert used["reply"] <= granted
    if "request" in used:
        assert used["request"] == _granted(SIM_NODE, "sim_node", "request")


def test_there_is_one_policy_for_each_launch_file_and_it_is_generated():
    files = {path.name.split(".")[0] for path in (ROOT / "launch").glob("*.launch.xml")}
    assert files - {"arm"} == set(LAUNCHES), "the stand-in runs where there is no robot"
    for name in LAUNCHES:
        path = ROOT / "config" / "sros2" / f"{name}.policy.xml"
        assert path.read_text(encoding="utf-8") == policy_xml(name), (
            "renew them: python -m vla_infoentropy_ros.nodes.security_policies"
        )


@pytest.mark.parametrize("name", LAUNCHES)
def test_nodes_start_in_the_enclave_of_their_policy(name):
    root = ElementTree.parse(ROOT / "launch" / f"{name}.launch.xml").getroot()
    for node in root.iter("node"):
        if node.get("pkg") == "vla_infoentropy_ros":
            assert node.get("ros_args") == f"--enclave /{node.get('name')}"
            assert node.get("name") in LAUNCHES[name].nodes(CommandSettings())


def test_names_follow_the_arguments_of_the_launch_file(capsys):
    assert main(["servo", "image:=/wrist/image_raw", "twist:=/arm/twist"]) == 0
    told = capsys.readouterr().out
    for name in ("/wrist/image_raw", "/wrist/image_raw/compressed", "/arm/twist"):
        assert f"<topic>{name}</topic>" in told
    assert "/camera/image_raw" not in told and "twist_command" not in told
    assert "<topic>/left/twist_command</topic>" in policy_xml("sim", {"namespace": "left"})
    assert "twist_command" not in policy_xml("bag"), "a bag commands nothing"
    for wrong in (["other"], ["vla", "imge:=/x"], ["vla", "image=/x"]):
        assert main(wrong) == 1
        assert capsys.readouterr().err.startswith("error: ")


def test_rights_follow_the_files_that_the_launch_file_is_given(tmp_path):
    panda = policy_xml("servo", {"robot": "panda"})
    assert "<action>/franka_gripper/gripper_action</action>" in panda
    assert "/gripper_command" not in panda and "/servo_node/status" in panda and "/tf" in panda
    joints = policy_xml("servo", {"output": "trajectory", "namespace": "left"})
    assert "<topic>/left/joint_trajectory_controller/joint_trajectory</topic>" in joints
    assert "delta_twist_cmds" not in joints and "servo_node" not in joints
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    command.output: pose\n")
    told = policy_xml("vla", {"robot_file": str(mine)})
    assert "<topic>/pose_command</topic>" in told and "twist_command" not in told
    for file, wrong in (("gone.yaml", "does not exist"), ("bad.yaml", "'sideways' is not among")):
        (tmp_path / "bad.yaml").write_text(mine.read_text().replace("pose", "sideways"))
        with pytest.raises(UserError, match=wrong):
            policy_xml("vla", {"robot_file": str(tmp_path / file)})
