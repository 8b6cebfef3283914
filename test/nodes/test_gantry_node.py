# SPDX-License-Identifier: Apache-2.0
"""What the gantry of Gazebo is told, by a clock that is set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from vla_infoentropy_ros.nodes.gantry_node import AXES, GantryNode
from vla_infoentropy_ros.nodes.messages import to_twist_stamped
from vla_infoentropy_ros.sim.scene import FINGER_OPEN, GANTRY_HOME

pytestmark = pytest.mark.usefixtures("ros")

SECOND = 1_000_000_000


class Kept:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def publish(self, message: Any) -> None:
        self.values.append(message.data if isinstance(message, Float64) else message)


@pytest.fixture
def gantry(monkeypatch):
    node = GantryNode()
    node._axes = {axis: Kept() for axis in AXES}
    node._fingers, node._pose = Kept(), Kept()
    monkeypatch.setattr(node, "get_clock", lambda: node)
    node.now = lambda: node
    node.nanoseconds = 10 * SECOND
    yield node
    monkeypatch.undo()
    node.destroy_node()


def joints(*positions: float) -> JointState:
    return JointState(name=list(AXES), position=list(positions))


def twist(*values: float, frame: str = "base_link", age_s: float = 0.0) -> TwistStamped:
    return to_twist_stamped(values, 10 * SECOND - round(age_s * 1e9), frame)


def ticks(gantry: GantryNode, count: int) -> list[float]:
    """The last set points after some periods of 20 ms in which the hand follows at once."""
    for _ in range(count):
        gantry.tick()
        gantry._on_joints(joints(*(gantry._axes[axis].values[-1] for axis in AXES)))
    return [gantry._axes[axis].values[-1] for axis in AXES]


def test_nothing_is_told_before_the_joints_are_known(gantry) -> None:
    gantry._on_twist(twist(0.1, 0, 0, 0, 0, 0))
    gantry.tick()
    assert not gantry._axes["x"].values
    gantry._on_joints(JointState(name=["x"], position=[0.0]))
    gantry.tick()
    assert not gantry._axes["x"].values, "one of four joints is not enough"


def test_a_velocity_becomes_set_points(gantry) -> None:
    gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(0.1, -0.1, 0.05, 0.0, 0.0, 0.5))
    assert ticks(gantry, 5) == pytest.approx([0.01, -0.01, 0.005, 0.05])


def test_it_stands_where_it_is_once_the_stamp_is_old(gantry) -> None:
    gantry._on_joints(joints(0.05, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(0.1, 0, 0, 0, 0, 0, age_s=0.09))
    assert ticks(gantry, 1)[0] == pytest.approx(0.052)
    gantry.nanoseconds += SECOND // 50
    assert ticks(gantry, 5)[0] == pytest.approx(0.052)


def test_what_was_told_before_the_world_was_set_back_moves_nothing(gantry) -> None:
    gantry._on_joints(joints(0.05, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(0.1, 0, 0, 0, 0, 0))
    gantry.nanoseconds = SECOND
    assert ticks(gantry, 5)[0] == pytest.approx(0.05)


def test_it_stays_in_the_workspace_and_within_the_speed_of_the_tabletop(gantry) -> None:
    gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(9.0, 0, -9.0, 0, 0, 0))
    assert ticks(gantry, 1)[0] == pytest.approx(0.175 / 50)
    x, _, z, _ = ticks(gantry, 500)
    assert x == pytest.approx(0.64 - GANTRY_HOME[0]) and z == pytest.approx(0.02 - GANTRY_HOME[2])


def test_a_blocked_hand_winds_nothing_up(gantry) -> None:
    gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(0.175, 0, 0, 0, 0, 0))
    for _ in range(100):
        gantry.tick()
    assert gantry._axes["x"].values[-1] == pytest.approx(0.02)


@pytest.mark.parametrize("message", [twist(0.1, 0, 0, 0, 0, 0, frame="world"),
                                     twist(np.nan, 0, 0, 0, 0, 0)])  # fmt: skip
def test_what_it_cannot_follow_stops_it(gantry, message) -> None:
    gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry._on_twist(twist(0.1, 0, 0, 0, 0, 0))
    gantry._on_twist(message)
    assert ticks(gantry, 3)[0] == 0.0


@pytest.mark.parametrize("name", ["rate_hz", "command_timeout_s"])
def test_what_is_fixed_is_refused_and_not_taken_in_silence(gantry, name) -> None:
    (answer,) = gantry.set_parameters([Parameter(name, value=10.0)])
    assert not answer.successful and answer.reason == (
        f"{name} is fixed at start-up: restart the node")


def test_the_fingers_begin_open_and_follow(gantry) -> None:
    gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry.tick()
    for opening in (0.0, 1.0):
        gantry._on_gripper(Float64(data=opening))
        gantry.tick()
    assert gantry._fingers.values == [FINGER_OPEN, 0.0, FINGER_OPEN]


def test_the_pose_is_told_in_the_base_frame(gantry) -> None:
    for _ in range(10):  # Gazebo tells them more often than anybody wants to hear
        gantry._on_joints(joints(0.0, 0.0, 0.0, 0.0))
    gantry._on_joints(joints(0.1, -0.2, 0.0, 0.6))
    gantry.tick()
    gantry.tick()
    (pose,) = gantry._pose.values
    at, turn = pose.pose.position, pose.pose.orientation
    np.testing.assert_allclose([at.x, at.y, at.z], [0.55, -0.2, 0.16])
    assert pose.header.frame_id == "base_link" and turn.z == pytest.approx(np.sin(0.3))
