# SPDX-License-Identifier: Apache-2.0
"""A message that is too large is dropped before anything is made of it."""

from array import array

import pytest
from sensor_msgs.msg import JointState

from test.nodes.harness import driven, logged, until
from vla_infoentropy_ros.nodes import bounded
from vla_infoentropy_ros.nodes.qos import NEWEST

pytestmark = pytest.mark.usefixtures("ros")


def test_a_crowd_of_joints_is_never_unpacked(monkeypatch):
    made = []
    unpack = bounded.deserialize_message
    monkeypatch.setattr(bounded, "deserialize_message",
                        lambda data, kind: made.append(kind) or unpack(data, kind))
    with logged() as reads, driven() as (robot, _, _):
        joints = robot.create_publisher(JointState, "joint_states", NEWEST)
        until(joints.get_subscription_count, "no one takes joint states")
        names = [f"joint_{number}" for number in range(100_000)]
        joints.publish(JointState(name=names, position=array("d", bytes(8 * len(names)))))
        reads("joint_states: ")
        reads("bytes, at most 262,144 are taken of a message")
        assert JointState not in made
        joints.publish(JointState(name=["joint_1"], position=[0.5]))
        until(lambda: JointState in made, "a small one is not taken")
