# SPDX-License-Identifier: Apache-2.0
"""An input has one source: a second publisher is a fault, seen over the real middleware."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool

from test.nodes.harness import HELD, driven, image, until
from test.nodes.policies import LOAD
from vla_infoentropy_ros.nodes.publishers import NAMELESS, full_names
from vla_infoentropy_ros.nodes.qos import CAMERA, LATCHED, NEWEST

pytestmark = pytest.mark.usefixtures("ros")

SECOND_SOURCES = {
    "image": (Image, "image", NEWEST, {}),
    "compressed": (CompressedImage, "image/compressed", CAMERA, {"image_transport": "compressed"}),
    "wrist_image": (Image, "wrist_image", NEWEST, {"model": f"{LOAD}:two_views"}),
    "instruction": (String, "instruction", LATCHED, {}),
    "ee_pose": (PoseStamped, "ee_pose", NEWEST, {}),
    "joint_states": (JointState, "joint_states", NEWEST, {"command__output": "trajectory"}),
    "robot_description": (
        String, "robot_description", LATCHED, {"command__output": "trajectory"}
    ),
}


@contextmanager
def stranger():
    """Another node, which does nothing yet."""
    node = Node("stranger", namespace="elsewhere")
    try:
        yield node
    finally:
        node.destroy_node()


def test_a_node_that_is_met_before_its_name_is_called_so():
    """As rmw_dds_common gives it: a process's publisher may be discovered first."""
    ends = [
        SimpleNamespace(node_namespace="_NODE_NAMESPACE_UNKNOWN_", node_name="_NODE_NAME_UNKNOWN_"),
        SimpleNamespace(node_namespace="/", node_name="policy_node"),
        SimpleNamespace(node_namespace="/left", node_name="robot"),
    ]
    assert full_names(ends) == ("/left/robot", "/policy_node", NAMELESS)


@pytest.mark.parametrize("name", ["image", "instruction", "ee_pose"])
def test_a_second_source_of_an_input_stops_the_robot(name):
    kind, topic, quality, _ = SECOND_SOURCES[name]
    with driven(**HELD) as (robot, _, _), stranger() as other:
        if name == "ee_pose":
            robot.create_publisher(kind, topic, quality)
        robot.drive()
        second = other.create_publisher(kind, f"/{topic}", quality)
        status = robot.faults("two_sources")
        assert f"/elsewhere/stranger and /robot publish on /{topic}" in status.fault_reason
        robot.call(robot.clear_fault)
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert not answer.success and "/elsewhere/stranger" in answer.message
        other.destroy_publisher(second)
        until(lambda: robot.count_publishers(topic) == 1, "the stranger stays")
        assert robot.call(robot.enable, SetBool.Request(data=True)).success


@pytest.mark.parametrize("name", ["compressed", "wrist_image", "joint_states", "robot_description"])
def test_every_input_that_is_listened_to_has_one_source(name):
    kind, topic, quality, options = SECOND_SOURCES[name]
    with driven(meet=False, **options) as (robot, _, _), stranger() as other:
        robot.create_publisher(kind, topic, quality)
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        other.create_publisher(kind, f"/{topic}", quality)
        until(lambda: robot.status.fault_code == "two_sources", "no fault", lambda: robot.status)


def test_what_nothing_depends_on_may_have_many_sources():
    """Arm and gripper often both publish joint_states, which velocities do without."""
    with driven(**HELD, command__pose_source="tf") as (robot, _, _), stranger() as other:
        robot.drive()
        topics = ("joint_states", "robot_description", "ee_pose")
        for kind, topic, quality, _ in map(SECOND_SOURCES.get, topics):
            robot.create_publisher(kind, topic, quality)
            other.create_publisher(kind, f"/{topic}", quality)
            until(lambda topic=topic: robot.count_publishers(topic) == 2, "not seen")
        robot.act()
        assert not robot.status.fault


def test_a_simulated_time_has_one_source():
    with driven(meet=False, use_sim_time=True) as (robot, _, _), stranger() as other:
        clocks = [node.create_publisher(Clock, "/clock", 1) for node in (robot, other)]
        until(lambda: robot.count_publishers("/clock") == len(clocks), "not seen")
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert not answer.success and "/clock" in answer.message


def test_a_camera_ahead_of_the_clock_takes_nothing_over():
    """Its pictures made all genuine ones come late."""
    with driven(**HELD, command__shared_inputs="image") as (robot, _, _), stranger() as other:
        robot.drive()
        ahead = other.create_publisher(Image, "/image", NEWEST)
        until(ahead.get_subscription_count, "no one takes images")
        until(lambda: robot.count_publishers("image") == 2, "not seen")
        ahead.publish(image(robot.now_ns() + 450_000_000))
        until(lambda: robot.status.frames_rejected, "not rejected", lambda: robot.status)
        for _ in range(3):
            robot.act()
