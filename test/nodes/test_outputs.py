# SPDX-License-Identifier: Apache-2.0
"""The other two ways to command an arm, and the limits that need to know where it is."""

from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from test.control.test_kinematics import ARM, BENT, urdf
from test.nodes.harness import WORDS, driven, until
from test.nodes.policies import SCRIPT, STEP
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.nodes import outputs
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

pytestmark = pytest.mark.usefixtures("ros")


def ready(robot, node, heard):
    """Instructed and enabled, with a subscriber that the node's publishers have found."""
    until(lambda: node.output.listeners(), "no one takes commands")
    assert heard is not None
    robot.say(WORDS)
    until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
    assert robot.call(robot.enable, SetBool.Request(data=True)).success


def pose(x, y, z):
    message = PoseStamped()
    message.header.frame_id = "base_link"
    message.pose.position.x, message.pose.position.y, message.pose.position.z = x, y, z
    return message


def test_poses_start_from_where_the_hand_is():
    with driven(command__output="pose", meet=False) as (robot, node, _):
        poses = []
        robot.create_subscription(PoseStamped, "pose_command", poses.append, QUEUE)
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        ready(robot, node, poses)
        with robot.streaming(lambda: hand.publish(pose(0.4, 0.1, 0.3))):
            until(lambda: node.driver.robot._pose is not None, "no pose arrives")
            robot.look()
            until(lambda: poses, "no pose", lambda: robot.status)
            first = poses[0].pose
            np.testing.assert_allclose(
                [first.position.x, first.position.y, first.position.z],
                np.array([0.4, 0.1, 0.3]) + STEP[:3],
                atol=1e-9,
            )
            assert first.orientation.z == pytest.approx(np.sin(STEP[5] / 2))
            assert poses[0].header.frame_id == "base_link"
            until(lambda: poses[-1].pose.position.x == 0.4, "does not stop where the hand is")


def test_an_arm_whose_gripper_cannot_be_made_has_no_publisher(monkeypatch):
    """It would be commanded without what guards it: what is open is not looked at again."""
    def fail(node, settings):
        raise RuntimeError("no such name")

    made = []
    node = SimpleNamespace(
        create_publisher=lambda kind, topic, quality: made.append(topic) or topic,
        destroy_publisher=made.remove,
    )
    monkeypatch.setattr(outputs, "make_gripper", fail)
    sink = outputs.CommandPublishers(node)
    with pytest.raises(RuntimeError):
        sink.open(CommandSettings(dry_run=False))
    assert sink.closed and not made


def test_without_a_pose_nothing_moves():
    with driven(command__output="pose", meet=False) as (robot, node, _):
        poses = []
        robot.create_subscription(PoseStamped, "pose_command", poses.append, QUEUE)
        ready(robot, node, poses)
        robot.look()
        until(lambda: robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "stale_state" and "ee_pose" in robot.status.fault_reason
        assert not poses


def test_joint_trajectories_move_the_hand_as_the_action_says():
    frames = {"command__base_frame": "l0", "command__tool_frame": "tool0"}
    with driven(command__output="trajectory", meet=False, **frames) as (robot, node, _):
        trajectories = []
        robot.create_subscription(JointTrajectory, "joint_trajectory", trajectories.append, QUEUE)
        robot.create_publisher(String, "robot_description", LATCHED).publish(String(data=urdf()))
        joints = robot.create_publisher(JointState, "joint_states", NEWEST)
        state = JointState(name=list(ARM.names)[::-1], position=[float(v) for v in BENT[::-1]])
        until(lambda: joints.get_subscription_count() and node.driver.robot.description, "not met")
        ready(robot, node, trajectories)
        with robot.streaming(lambda: joints.publish(state)):
            until(lambda: node.driver.robot._joints, "no joint state arrives")
            robot.look()
            until(lambda: trajectories, "no trajectory", lambda: robot.status)
        point = trajectories[0].points[0]
        assert list(trajectories[0].joint_names) == list(ARM.names)
        moved = ARM.forward(np.array(point.positions))[1] - ARM.forward(BENT)[1]
        np.testing.assert_allclose(moved, STEP[:3], atol=4e-3)
        assert point.time_from_start.nanosec == 200_000_000


def test_the_workspace_is_kept():
    box = {"command__workspace_low": [0.2, -0.4, 0.0], "command__workspace_high": [0.4, 0.4, 0.5]}
    with driven(command__limit_workspace=True, **box) as (robot, node, _):
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        ready(robot, node, hand)
        with robot.streaming(lambda: hand.publish(pose(0.4, 0.0, 0.3))):
            until(lambda: node.driver.robot._pose is not None, "no pose arrives")
            robot.act()
            until(lambda: any(twist.any() for twist in robot.twists), "does not move")
        assert robot.actions[-1].limited
        moving = [twist for twist in robot.twists if twist.any()]
        assert moving[0][0] == 0.0 and moving[0][2] < 0.0, "at the wall x stops, z goes on"


def test_a_wall_is_no_matter_of_acceleration():
    box = {"command__workspace_low": [0.2, -0.4, 0.0], "command__workspace_high": [0.4, 0.4, 0.5]}
    limits = {"command__max_linear_acceleration": 0.3, "command__hold_periods": 5.0}
    with driven(command__limit_workspace=True, **box, **limits) as (robot, node, _):
        hand, at = robot.create_publisher(PoseStamped, "ee_pose", NEWEST), [0.3]
        until(hand.get_subscription_count, "no one takes ee_pose")
        ready(robot, node, hand)
        with robot.streaming(lambda: hand.publish(pose(at[-1], 0.0, 0.3))):
            until(lambda: node.driver.robot.last_pose, "no pose arrives")
            robot.act()
            fast = float(node.driver.commander._hold.twist[0])
            until(lambda: robot.twists and robot.twists[-1][0] == fast, "is not so fast")
            begin = len(robot.twists)
            at.append(0.4)
            until(lambda: node.driver.robot.last_pose.position[0] == 0.4, "does not arrive")
            SCRIPT.values = (*STEP[:2], -STEP[2], *STEP[3:])
            robot.act()
            until(lambda: robot.twists[-1][0] == 0.0, "goes on")
        moving = [twist for twist in robot.twists[begin:] if twist.any()]
        assert {float(twist[0]) for twist in moving} <= {fast, 0.0}, "brakes slowly at the wall"
        grown = np.diff([max(0.0, twist[2]) for twist in moving])
        assert grown.max(initial=0.0) <= 0.3 / 30.0 + 1e-9, "z speeds up as gently as ever"
