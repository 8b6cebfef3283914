# SPDX-License-Identifier: Apache-2.0
"""A publisher from which nothing arrives is told, and no longer than that."""

from contextlib import contextmanager

import pytest
import rclpy
from sensor_msgs.msg import CompressedImage, Image

from test.nodes.harness import WORDS, driven, logged, until
from test.nodes.policies import LOAD
from vla_infoentropy_ros.nodes.qos import CAMERA, NEWEST

pytestmark = pytest.mark.usefixtures("ros")


def test_a_publisher_of_other_reliability_is_told():
    with driven() as (robot, node, _):
        camera = robot.create_publisher(Image, "image", CAMERA)
        until(lambda: "image_reliability" in node.inputs.problem, "not noticed")
        robot.destroy_publisher(camera)
        assert not robot.twists
        robot.look()
        until(lambda: not node.inputs.problem, "told of one that is gone, while images arrive")


@contextmanager
def another():
    """A node that knows none of the types of this process, as one of another process does."""
    context = rclpy.Context()
    domain = rclpy.utilities.get_default_context().get_domain_id()
    rclpy.init(context=context, domain_id=domain)
    try:
        yield rclpy.create_node("driver", context=context)
    finally:
        context.try_shutdown()


def test_a_publisher_of_another_type_is_told():
    with logged() as reads, driven(model=f"{LOAD}:two_views") as (robot, node, _), another() as far:
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
        camera = far.create_publisher(CompressedImage, "wrist_image", NEWEST)
        told = ("/wrist_image is published as sensor_msgs/msg/CompressedImage, and "
                "sensor_msgs/msg/Image is taken: name a topic of that type")
        reads(told)
        until(lambda: told in robot.status.detail, "no detail", lambda: robot.status)
        until(lambda: told in robot.told("camera"), "not in diagnostics")
        far.destroy_publisher(camera)
        until(lambda: not node.inputs.problem, "told of one that is gone")
