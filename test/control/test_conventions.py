# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.control.conventions import (
    ConventionError,
    gripper_opening,
    matrix_quaternion,
    multiply,
    rotate,
    rotation_vector,
    rpy_quaternion,
    step_to_twist,
)

angles = st.floats(-math.pi, math.pi)
small = st.floats(-0.3, 0.3)


@pytest.mark.parametrize(
    ("convention", "closed", "opened"),
    [("one_is_open", 0.0, 1.0), ("minus_one_is_open", 1.0, -1.0), ("one_is_closed", 1.0, 0.0)],
)
def test_gripper_conventions_agree_on_open_and_closed(convention, closed, opened):
    assert gripper_opening(closed, convention) == 0.0
    assert gripper_opening(opened, convention) == 1.0


@given(st.floats(-1e6, 1e6), st.sampled_from(["one_is_open", "minus_one_is_open", "one_is_closed"]))
def test_gripper_opening_stays_in_its_range(value, convention):
    assert 0.0 <= gripper_opening(value, convention) <= 1.0


def test_unknown_conventions_name_the_known_ones():
    with pytest.raises(ConventionError, match="one_is_open"):
        gripper_opening(1.0, "open")
    with pytest.raises(ConventionError, match="rpy"):
        rotation_vector(np.zeros(3), "quaternion")


def test_axis_angle_is_a_rotation_vector_already():
    values = np.array([0.01, 0.0, -0.02, 0.3, -0.1, 0.2, 1.0])
    np.testing.assert_allclose(step_to_twist(values, 0.1, "axis_angle"), values[:6] / 0.1)
    assert not np.allclose(step_to_twist(values, 0.1, "rpy")[3:], values[3:6] / 0.1, atol=1e-3)


@given(angles, angles, angles)
def test_rpy_quaternion_turns_as_the_three_matrices_do(roll, pitch, yaw):
    def matrix(axis, angle):
        c, s = math.cos(angle), math.sin(angle)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        made = np.eye(3)
        made[a, a] = made[b, b] = c
        made[a, b], made[b, a] = -s, s
        return made

    fixed_axes = matrix(2, yaw) @ matrix(1, pitch) @ matrix(0, roll)
    vector = np.array([0.3, -1.2, 0.7])
    quaternion = rpy_quaternion(np.array([roll, pitch, yaw]))
    np.testing.assert_allclose(rotate(quaternion, vector), fixed_axes @ vector, atol=1e-12)


@given(small, small, small)
def test_rotation_vector_makes_the_same_turn(roll, pitch, yaw):
    rpy = np.array([roll, pitch, yaw])
    turn = rotation_vector(rpy)
    angle = float(np.linalg.norm(turn))
    axis = turn / angle if angle > 0 else turn
    quaternion = (math.cos(angle / 2), *(math.sin(angle / 2) * axis))
    np.testing.assert_allclose(quaternion, rpy_quaternion(rpy), atol=1e-9)


@given(angles)
def test_a_turn_about_one_axis_is_that_angle(yaw):
    np.testing.assert_allclose(rotation_vector(np.array([0, 0, yaw])), [0, 0, yaw], atol=1e-9)


@given(angles, angles)
def test_quaternion_product_is_first_b_then_a(first, second):
    a = rpy_quaternion(np.array([0.0, 0.0, second]))
    b = rpy_quaternion(np.array([first, 0.0, 0.0]))
    vector = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        rotate(multiply(a, b), vector), rotate(a, rotate(b, vector)), atol=1e-12
    )


@given(st.lists(st.floats(-0.1, 0.1), min_size=7, max_size=7), st.floats(0.02, 2.0))
def test_the_twist_makes_the_step_within_its_period(values, period):
    values = np.array(values)
    twist = step_to_twist(values, period)
    np.testing.assert_allclose(twist[:3] * period, values[:3], atol=1e-12)
    np.testing.assert_allclose(twist[3:] * period, rotation_vector(values[3:6]), atol=1e-12)


@pytest.mark.parametrize("period", [0.0, -0.2, math.nan, math.inf])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises(ConventionError, match="control_period_s"):
        step_to_twist(np.zeros(7), period)


long_enough = st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4).filter(
    lambda parts: max(map(abs, parts)) > 0.1
)


@given(long_enough)
def test_a_matrix_and_its_quaternion_turn_alike(parts):
    quaternion = tuple(np.array(parts) / np.linalg.norm(parts))
    matrix = np.stack([rotate(quaternion, unit) for unit in np.eye(3)], axis=1)
    found = matrix_quaternion(matrix)
    assert np.abs(np.dot(found, quaternion)) == pytest.approx(1.0, abs=1e-9)
    assert np.linalg.norm(found) == pytest.approx(1.0)
