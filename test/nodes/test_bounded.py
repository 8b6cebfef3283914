# SPDX-License-Identifier: Apache-2.0
"""A message that is too large is dropped before anything is made of it."""

from array import array

import pytest
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from test.nodes.harness import HELD, WORDS, driven, logged, until
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


def test_what_one_request_sets_is_judged_together():
    """Each of the two would be refused beside the other's old value; `ros2 param load` does not set
    atomically."""
    with driven(**HELD) as (robot, node, _):
        robot.drive()

        def box(low):
            corners = {"low": [low] * 3, "high": [low + 1.0] * 3}
            return [Parameter(f"command.workspace_{name}", value=value).to_parameter_msg()
                    for name, value in corners.items()]

        for kind, name in ((SetParametersAtomically, "set_parameters_atomically"),
                           (SetParameters, "set_parameters")):
            low = 2.0 + len(name)
            client = robot.create_client(kind, f"policy_node/{name}")
            answer = robot.call(client, kind.Request(parameters=box(low)))
            for result in getattr(answer, "results", None) or [answer.result]:
                assert result.successful, result.reason
            assert node.driver.settings.command.workspace_low == (low,) * 3
        assert not robot.status.fault


@pytest.mark.parametrize(("name", "value", "told"), [
    ("command.max_linear_speed", ParameterValue(type=2, integer_value=1),
     "command.max_linear_speed=1 is of type INTEGER; give a DOUBLE with a decimal point"),
    ("command.base_frame", ParameterValue(), "command.base_frame=None is of type NOT_SET"),
    ("command.max_linear_sped", ParameterValue(type=3, double_value=0.1),
     "did you mean command.max_linear_speed"),
    ("", ParameterValue(type=3, double_value=0.1), "parameter '' is unknown"),
    ("command.max_linear_speed", ParameterValue(type=99), "99 is not a valid"),
])
def test_a_value_of_another_type_is_refused_by_name_and_stops_the_robot(name, value, told):
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        client = robot.create_client(SetParameters, "policy_node/set_parameters")
        asked = SetParameters.Request(parameters=[ParameterMessage(name=name, value=value)])
        (result,) = robot.call(client, asked).results
        assert not result.successful and told in result.reason
        assert told in robot.faults("invalid_parameter").fault_reason
        assert not node.has_parameter("")


GARBAGE = b"\x00\x01\x00\x00\xff\xff\xff\x7fno message"


def test_bytes_that_are_no_message_and_transitions_that_are_none_end_nothing():
    """A publisher built against another definition; a manager that configures what is active."""
    with logged() as reads, driven(**HELD) as (robot, _, _):
        robot.drive()
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        with robot.streaming(lambda: hand.publish(GARBAGE)):
            reads("dropped: ", "are no geometry_msgs/msg/PoseStamped")
        assert robot.moving
        with robot.streaming(lambda: robot.mouth.publish(GARBAGE)):
            reads("dropped: ", "are no std_msgs/msg/String")
        robot.ends_in_zero()  # whatever it says, it is not the instruction before
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed again")
        change = robot.create_client(ChangeState, "policy_node/change_state")
        configure = Transition(id=Transition.TRANSITION_CONFIGURE)
        assert not robot.call(change, ChangeState.Request(transition=configure)).success
        reads("change_state cannot be carried out", "lifecycle list")
        robot.act()
        assert robot.moving and not robot.status.fault
