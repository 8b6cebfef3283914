# SPDX-License-Identifier: Apache-2.0
"""A message that is too large is dropped before anything is made of it."""

from array import array

import pytest
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from test.nodes.harness import HELD, driven, logged, until
from vla_infoentropy_ros.nodes import bounded
from vla_infoentropy_ros.nodes.qos import NEWEST

pytestmark = pytest.mark.usefixtures("ros")


def test_a_crowd_of_joints_is_never_unpacked(monkeypatch):
    made = []
    unpack = bounded.deserialize_message
    monkeypatch.setattr(bounded, "deserialize_message",
                        lambda data, kind: made.append(kind) or unpack(data, kind))
    with logged() as reads, driven(meet=False, command__output="trajectory") as (robot, _, _):
        joints = robot.create_publisher(JointState, "joint_states", NEWEST)
        until(joints.get_subscription_count, "no one takes joint states")
        names = [f"joint_{number}" for number in range(100_000)]
        joints.publish(JointState(name=names, position=array("d", bytes(8 * len(names)))))
        reads("joint_states: ")
        reads("bytes, at most 262,144 are taken of a message")
        assert JointState not in made
        joints.publish(JointState(name=["joint_1"], position=[0.5]))
        until(lambda: JointState in made, "a small one is not taken")


def test_a_request_of_many_parameters_is_refused_before_the_work():
    """Each by itself, they kept the executor for minutes; whoever asks for it stops the robot."""
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        asked = [Parameter("selector", value="dense").to_parameter_msg()] * 10_000
        names = GetParameters.Request(names=["selector"] * 10_000)
        client = robot.create_client(GetParameters, "policy_node/get_parameters")
        assert not robot.call(client, names).values and not robot.status.fault
        client = robot.create_client(SetParameters, "policy_node/set_parameters")
        refusals = robot.call(client, SetParameters.Request(parameters=asked)).results
        assert len(refusals) == 10_000 and not any(each.successful for each in refusals)
        assert "10,000 entries, at most 256 are taken" in refusals[0].reason
        robot.faults("invalid_parameter")
        assert node.driver.settings.node.selector == "attention_drift"
        together = SetParametersAtomically.Request(parameters=asked)
        client = robot.create_client(
            SetParametersAtomically, "policy_node/set_parameters_atomically"
        )
        assert "10,000 entries" in robot.call(client, together).result.reason


def test_what_is_set_atomically_is_judged_together():
    """Each of the two would be refused beside the other's old value."""
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        box = {"command.workspace_low": [2.0] * 3, "command.workspace_high": [3.0] * 3}
        asked = [Parameter(name, value=value).to_parameter_msg() for name, value in box.items()]
        client = robot.create_client(
            SetParametersAtomically, "policy_node/set_parameters_atomically"
        )
        answer = robot.call(client, SetParametersAtomically.Request(parameters=asked))
        assert answer.result.successful, answer.result.reason
        assert node.driver.settings.command.workspace_low == (2.0,) * 3
        assert not robot.status.fault
