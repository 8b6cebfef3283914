# SPDX-License-Identifier: Apache-2.0
"""Trajectories are timed by the arm's own clock, not by that of its node."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from rclpy.node import Node
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.nodes.arm_link import ArmLink
from vla_infoentropy_ros.nodes.messages import to_time

pytestmark = pytest.mark.usefixtures("ros")
SECOND = 1_000_000_000


def test_an_episode_whose_time_waits_for_the_policy_follows_trajectories() -> None:
    node = Node("arm_node")
    try:
        arm = StandInArm(ARMS["panda"], "trajectory")
        link = ArmLink(node, "policy_node", arm)
        began = arm.positions.copy()
        link.tell_pose(*arm.tip, 5 * SECOND)
        point = JointTrajectoryPoint(
            positions=(began + 0.01).tolist(), time_from_start=Duration(nanosec=SECOND // 5)
        )
        link._on_trajectory(
            JointTrajectory(
                header=Header(stamp=to_time(5 * SECOND)),
                joint_names=list(arm.model.chain.names), points=[point],
            )
        )  # fmt: skip
        arm.advance(5 * SECOND + SECOND // 5, 0.2)
        np.testing.assert_allclose(arm.positions, began + 0.01)
    finally:
        node.destroy_node()
