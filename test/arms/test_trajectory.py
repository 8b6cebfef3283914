# SPDX-License-Identifier: Apache-2.0
"""What joint_trajectory_controller does with a trajectory."""

from __future__ import annotations

import numpy as np
import pytest

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.arms.trajectory import Point, TrajectoryController, TrajectoryError

MS = 1_000_000
NOW = 10_000 * MS
HERE = np.array([0.0, 1.0])


def controller() -> TrajectoryController:
    return TrajectoryController(("a", "b"), HERE)


def test_it_goes_straight_to_the_point_and_stays() -> None:
    one = controller()
    one.follow(["b", "a"], [Point((2.0, 1.0), 200 * MS)], 0, NOW, HERE)
    np.testing.assert_allclose(one.positions(NOW), [0.0, 1.0])
    np.testing.assert_allclose(one.positions(NOW + 50 * MS), [0.25, 1.25])
    np.testing.assert_allclose(one.positions(NOW + 200 * MS), [1.0, 2.0])
    np.testing.assert_allclose(one.positions(NOW + 5000 * MS), [1.0, 2.0])


def test_points_are_passed_in_turn() -> None:
    one = controller()
    points = [Point((1.0, 1.0), 100 * MS), Point((1.0, 3.0), 200 * MS)]
    one.follow(["a", "b"], points, NOW, NOW, HERE)
    np.testing.assert_allclose(one.positions(NOW + 150 * MS), [1.0, 2.0])


def test_a_newer_trajectory_replaces_the_older_from_where_the_arm_is() -> None:
    one = controller()
    one.follow(["a", "b"], [Point((1.0, 1.0), 200 * MS)], NOW, NOW, HERE)
    half = one.positions(NOW + 100 * MS)
    one.follow(["a", "b"], [Point((0.5, 1.0), 100 * MS)], 0, NOW + 100 * MS, half)
    np.testing.assert_allclose(one.positions(NOW + 150 * MS), [0.5, 1.0])


@pytest.mark.parametrize(
    ("names", "points", "stamp_ns", "reason"),
    [
        (["a"], [Point((1.0,), 100 * MS)], 0, "joints a, not those"),
        (["a", "c"], [Point((1.0, 1.0), 100 * MS)], 0, "joints a, c, not those"),
        (["a", "b"], [], 0, "without points"),
        (["a", "b"], [Point((1.0,), 100 * MS)], 0, "point 0 needs a finite position"),
        (["a", "b"], [Point((1.0, float("nan")), 100 * MS)], 0, "point 0 needs a finite"),
        (["a", "b"], [Point((1.0, 1.0), 9), Point((1.0, 1.0), 9)], 0, "point 1 is not later"),
        (["a", "b"], [Point((1.0, 1.0), 100 * MS)], NOW - 300 * MS, "ended 0.200 s ago"),
    ],
)
def test_what_it_refuses_changes_nothing(names, points, stamp_ns, reason) -> None:
    one = controller()
    with pytest.raises(TrajectoryError, match=reason):
        one.follow(names, points, stamp_ns, NOW, HERE)
    np.testing.assert_array_equal(one.positions(NOW + 1000 * MS), HERE)


def test_an_arm_keeps_to_the_speeds_of_its_joints() -> None:
    arm = StandInArm(ARMS["ur5"], "trajectory")
    arm.place(np.array([0.45, 0.0, 0.2]))
    before = arm.positions
    there = tuple(before + np.array([0.0, 0.5, 0.0, 0.0, 0.0, 0.0]))
    arm.follow(list(arm.model.chain.names), [Point(there, MS)], 0, NOW)
    arm.advance(NOW + 20 * MS, 0.02)
    assert (arm.positions - before)[1] == pytest.approx(np.pi * 0.02)
    for tick in range(2, 20):
        arm.advance(NOW + tick * 20 * MS, 0.02)
    np.testing.assert_allclose(arm.positions, there)
