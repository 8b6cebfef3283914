# SPDX-License-Identifier: Apache-2.0
"""Images and poses that look sound from outside: what a robot in motion does about them."""

import math
import struct
import time
import zlib
from array import array

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header, String
from trajectory_msgs.msg import JointTrajectory

from test.control.test_kinematics import ARM, BENT, urdf
from test.nodes.harness import HELD, WORDS, driven, image, logged, until
from test.nodes.test_outputs import pose, ready
from vla_infoentropy_ros.nodes.messages import to_time
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

pytestmark = pytest.mark.usefixtures("ros")


def test_a_wrist_camera_that_dies_stops_though_the_other_lives():
    with driven(**(HELD | {"model": "test.nodes.harness:load_held:two_views"})) as (robot, node, _):
        wrist = robot.create_publisher(Image, "wrist_image", NEWEST)
        until(wrist.get_subscription_count, "no one takes wrist images")
        look = robot.look

        def both():
            stamp = robot.now_ns()
            wrist.publish(image(stamp))
            until(lambda: node.driver.intake._further, "no wrist image")
            look(stamp)

        robot.look = both
        robot.drive()
        assert robot.set(node, command__camera_timeout_s=0.5).successful
        with robot.streaming(look):
            robot.faults("camera_frozen")


def test_pictures_that_cannot_be_decoded_stop_as_no_pictures_do():
    with driven(**HELD, image_transport="compressed") as (robot, node, _):
        camera = robot.create_publisher(CompressedImage, "image/compressed", NEWEST)
        until(camera.get_subscription_count, "no one takes compressed images")
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        whole = cv2.imencode(".png", noise)[1].tobytes()

        def look(data=whole):
            header = Header(stamp=to_time(robot.now_ns()))
            camera.publish(CompressedImage(header=header, format="png", data=array("B", data)))

        robot.look = look
        robot.drive()
        assert robot.set(node, command__camera_timeout_s=0.5).successful
        with robot.streaming(lambda: look(whole[:200])):  # header and size are there
            robot.faults("camera_frozen")
        assert node.driver.intake.counters.frames_rejected > 0


def test_a_picture_too_large_to_unpack_is_refused_by_its_header():
    with logged() as reads, driven(image_transport="compressed") as (robot, node, _):
        camera = robot.create_publisher(CompressedImage, "image/compressed", NEWEST)
        until(camera.get_subscription_count, "no one takes compressed images")
        size = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(content)) + name + content
            + struct.pack(">I", zlib.crc32(name + content))
            for name, content in chunks
        )
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        header = Header(stamp=to_time(robot.now_ns()))
        camera.publish(CompressedImage(header=header, format="png", data=array("B", data)))
        reads("picture of 20000x20000", "1,200,000,000 bytes")
        assert node.driver.intake.counters.frames_rejected == 1


@pytest.mark.parametrize(
    ("x", "w"), [(math.nan, 1.0), (math.inf, 1.0), (0.4, 0.0), (0.4, math.nan)]
)
@pytest.mark.parametrize("output", ["twist", "pose"])
def test_a_pose_that_is_none_moves_nothing(output, x, w):
    limits = {"command__limit_workspace": True, "command__output": output}
    with driven(meet=False, **limits) as (robot, node, _):
        poses = []
        robot.create_subscription(PoseStamped, "pose_command", poses.append, QUEUE)
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        ready(robot, node, poses)
        bad = pose(x, 0.0, 0.3)
        bad.pose.orientation.w = w
        with robot.streaming(lambda: hand.publish(bad)):
            until(lambda: node.driver.robot._pose_problem, "no pose arrives")
            robot.look()
            until(lambda: robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "stale_state"
        assert "ee_pose is no pose" in robot.status.fault_reason
        assert not poses and not any(map(np.any, robot.twists))


def test_an_arm_that_moves_by_poses_stops_where_it_was_last_seen():
    with driven(**HELD, command__output="pose", meet=False) as (robot, node, _):
        poses, seen = [], [pose(0.4, 0.1, 0.3)]
        robot.create_subscription(PoseStamped, "pose_command", poses.append, QUEUE)
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        ready(robot, node, poses)
        with robot.streaming(lambda: hand.publish(seen[-1])):
            until(lambda: node.driver.robot.last_pose is not None, "no pose arrives")
            robot.look()
            until(lambda: poses, "no motion", lambda: robot.status)
            assert poses[0].pose.position.x != 0.4
            seen.append(pose(math.nan, 0.1, 0.3))
            until(lambda: node.driver.robot._pose_problem, "NaN was taken for a pose")
            robot.look()
            until(lambda: robot.status.fault, "no fault", lambda: robot.status)
            until(lambda: poses[-1].pose.position.x == 0.4, "no stop")
        assert robot.status.fault_code == "stale_state"


@pytest.mark.parametrize(
    ("frame", "later_s", "told"),
    [
        ("", 0.0, "ee_pose names no frame: let its publisher set header.frame_id to"),
        ("camera", 0.0, "ee_pose is in frame 'camera', not in command.base_frame='base_link'"),
        ("base_link", -60.0, "ee_pose is 6"),  # its driver died a minute ago
        ("base_link", None, "ee_pose is "),  # a relay repeats the last one
    ],
)
def test_a_pose_of_another_frame_or_time_moves_nothing(frame, later_s, told):
    limits = {"command__limit_workspace": True, "command__pose_timeout_s": 0.5}
    with driven(meet=False, **limits) as (robot, node, _):
        hand = robot.create_publisher(PoseStamped, "ee_pose", NEWEST)
        until(hand.get_subscription_count, "no one takes ee_pose")
        until(lambda: node.output.listeners(), "no one takes commands")
        first_ns = robot.now_ns()

        def tell():
            message = pose(0.4, 0.1, 0.3)
            message.header.frame_id = frame
            stamp_ns = first_ns if later_s is None else robot.now_ns() + int(later_s * 1e9)
            message.header.stamp = to_time(stamp_ns)
            hand.publish(message)

        ready(robot, node, [])
        with robot.streaming(tell):
            state = node.driver.robot
            until(lambda: state._pose or state._pose_problem, "no pose arrives")
            until(lambda: robot.now_ns() > first_ns + 600_000_000, "no time goes by")
            robot.look()
            until(lambda: robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "stale_state"
        assert told in robot.status.fault_reason
        assert not any(map(np.any, robot.twists))


def test_joints_of_the_arm_grow_old_though_the_gripper_lives():
    frames = {"command__base_frame": "l0", "command__tool_frame": "tool0"}
    with driven(command__output="trajectory", meet=False, **frames) as (robot, node, _):
        commands = []
        robot.create_subscription(JointTrajectory, "joint_trajectory", commands.append, QUEUE)
        robot.create_publisher(String, "robot_description", LATCHED).publish(String(data=urdf()))
        joints = robot.create_publisher(JointState, "joint_states", NEWEST)
        until(lambda: joints.get_subscription_count() and node.driver.robot.description, "not met")
        joints.publish(JointState(name=list(ARM.names), position=[float(v) for v in BENT]))
        until(lambda: node.driver.robot._joints, "no joint state arrives")
        ready(robot, node, commands)
        assert robot.set(node, command__pose_timeout_s=0.2).successful
        with robot.streaming(lambda: joints.publish(JointState(name=["finger"], position=[0.0]))):
            oldest = ARM.names[0]
            news = node.driver.robot._joints[oldest][1]
            until(lambda: time.monotonic() - news.arrival_s > 0.3, "time")
            robot.look()
            until(lambda: robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "stale_state"
        assert f"{oldest} in joint_states is" in robot.status.fault_reason
        assert not commands
