# SPDX-License-Identifier: Apache-2.0
"""The gripper as ros2_control serves it: goals of actions of control_msgs."""

import sys
from contextlib import contextmanager

import pytest
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from std_srvs.srv import SetBool

from test.nodes.harness import HELD, WORDS, driven, until
from test.nodes.policies import SCRIPT, STEP
from test.nodes.test_outputs import ready
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.grippers import check_gripper

pytestmark = pytest.mark.usefixtures("ros")

NAME = "gripper_controller/gripper_cmd"
HAND = {
    "command__gripper_action": NAME,
    "command__gripper_open_position": 0.04,
    "command__gripper_closed_position": 0.01,
    "command__gripper_max_effort": 20.0,
}


def actions():
    """Those of control_msgs, which a ROS installation may be without."""
    return pytest.importorskip("control_msgs.action", reason="control_msgs is not installed")


@contextmanager
def serving(rig, robot, reach, kind=None, **callbacks):
    """The gripper's controller, until the end of the test and no longer."""
    kind = kind or actions().GripperCommand
    server = rig.do(lambda: ActionServer(robot, kind, NAME, reach, **callbacks))
    try:
        yield
    finally:
        rig.do(server.destroy)


@contextmanager
def handed(answer=GoalResponse.ACCEPT, serve=True):
    """An enabled robot, and the goals that its gripper's controller was given."""
    GripperCommand = actions().GripperCommand
    goals = []

    def decide(goal):
        goals.append((goal.command.position, goal.command.max_effort))
        return answer if isinstance(answer, GoalResponse) else answer[len(goals) - 1]

    def reach(handle):
        handle.succeed()
        return GripperCommand.Result(reached_goal=True)

    with driven(meet=False, **HAND) as (robot, node, rig):
        if serve:
            with serving(rig, robot, reach, goal_callback=decide):
                ready(robot, node, goals)
                yield robot, goals
        else:
            until(lambda: robot.camera.get_subscription_count(), "no one takes images")
            robot.say(WORDS)
            until(lambda: robot.status.instruction == WORDS, "not instructed")
            yield robot, goals


def turn_gripper(opening):
    SCRIPT.values = (*STEP[:6], opening)


def test_a_goal_whenever_the_opening_changes():
    with handed() as (robot, goals):
        for opening in (1.0, 1.0, 0.0, 0.0, 1.0):
            turn_gripper(opening)
            robot.act()
        until(lambda: len(goals) == 3, "goals are missing")
        assert [position for position, _ in goals] == pytest.approx([0.04, 0.01, 0.04])
        assert {effort for _, effort in goals} == {20.0}
        assert not robot.openings, "the topic is not used beside the action"


def test_after_a_stop_the_gripper_is_told_anew():
    with handed() as (robot, goals):
        robot.act()
        assert robot.call(robot.reset).success
        robot.act()
        until(lambda: len(goals) == 2, "not told anew")


@pytest.mark.parametrize("when", ["under way", "accepted late"])
def test_a_stop_holds_the_fingers_where_they_are(when):
    """They would close to the end, with all their effort, after a fault."""
    GripperCommand = actions().GripperCommand
    begun, canceled, over = [], [], Future()

    async def reach(handle):
        begun.append(handle)
        await over  # slow fingers
        handle.canceled()
        return GripperCommand.Result()

    def cancel(handle):
        canceled.append(handle)
        over.set_result(None)
        return CancelResponse.ACCEPT

    with (
        driven(meet=False, **HAND, **HELD) as (robot, node, rig),
        serving(rig, robot, reach, cancel_callback=cancel),
    ):
        ready(robot, node, begun)
        gripper = node.output._gripper
        if when == "under way":
            robot.look()
            until(lambda: gripper._under_way, "no answer to the goal")
            robot.call(robot.enable, SetBool.Request(data=False))
        else:

            def send_and_stop():
                gripper.send(1.0, node.driver.settings.command)
                gripper.forget()  # in one callback: no answer can have come between

            rig.do(send_and_stop)
        until(lambda: canceled, "the fingers go on", lambda: robot.status)
        until(lambda: gripper._under_way is None, "its end is not noticed")


def test_a_gripper_that_refuses_stops_the_robot():
    with handed(GoalResponse.REJECT) as (robot, goals):
        robot.act()
        until(lambda: goals, "no goal")
        until(lambda: robot.look() and robot.status.fault, "no fault", lambda: robot.status)
        assert NAME in robot.status.fault_reason and "rejected" in robot.status.fault_reason
        robot.faults("gripper")


def test_a_refusal_does_not_outlive_its_fault():
    with handed([GoalResponse.REJECT, GoalResponse.ACCEPT]) as (robot, goals):
        robot.act()
        until(lambda: goals, "no goal")
        robot.ends_in_zero()  # the command has expired before the fault
        until(lambda: robot.look() and robot.status.fault, "no fault", lambda: robot.status)
        robot.call(robot.clear_fault)
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        count = len(robot.actions)
        until(lambda: robot.look() and len(goals) == 2, "not told again", lambda: robot.status)
        until(lambda: len(robot.actions) > count and not robot.status.fault, "still refuses")


def test_without_the_controller_the_robot_is_not_enabled():
    with handed(serve=False) as (robot, _):
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert not answer.success and f"no action server {NAME}" in answer.message
        robot.act()
        assert not any(twist.any() for twist in robot.twists)


def test_a_controller_that_goes_away_stops_the_robot():
    with driven(meet=False, **HAND) as (robot, node, rig):
        with serving(rig, robot, lambda handle: handle.succeed()):
            ready(robot, node, [])
        until(lambda: not node.output._gripper.listeners(), "still seen")
        until(lambda: robot.look() and robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "gripper" and NAME in robot.status.fault_reason


@pytest.mark.parametrize(
    ("joint", "effort", "names", "efforts"),
    [("", 0.0, [], []), ("finger", 20.0, ["finger"], [20.0])],
)
def test_a_parallel_gripper_takes_a_joint_state(joint, effort, names, efforts):
    kind = actions().ParallelGripperCommand
    commands = []

    def reach(handle):
        commands.append(handle.request.command)
        handle.succeed()
        return kind.Result(reached_goal=True)

    hand = HAND | {
        "command__gripper_action_type": "ParallelGripperCommand",
        "command__gripper_joint": joint,
        "command__gripper_max_effort": effort,
    }
    with driven(meet=False, **hand) as (robot, node, rig), serving(rig, robot, reach, kind):
        ready(robot, node, commands)
        turn_gripper(1.0)
        robot.act()
        until(lambda: commands, "no goal")
    (command,) = commands
    assert list(command.position) == pytest.approx([0.04])
    assert list(command.name) == names and list(command.effort) == efforts
    assert not command.velocity


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs", None)
    monkeypatch.setitem(sys.modules, "control_msgs.action", None)
    with pytest.raises(SettingError, match=r"command.gripper_action.*control_msgs.*install"):
        check_gripper(CommandSettings(gripper_action=NAME))
    check_gripper(CommandSettings())
