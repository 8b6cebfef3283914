# SPDX-License-Identifier: Apache-2.0
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError


def urdf(limit=3.0):
    """Six joints of a common arm, metres: three that place the wrist, three that turn it."""
    axes = ["0 0 1", "0 1 0", "0 1 0", "0 0 1", "0 1 0", "0 0 1"]
    offsets = ["0 0 0.3", "0 0 0.1", "0 0 0.4", "0 0 0.35", "0 0 0.1", "0 0 0.1"]
    parts = [
        f'<joint name="j{i}" type="revolute"><parent link="l{i}"/><child link="l{i + 1}"/>'
        f'<origin xyz="{offset}" rpy="0 0 0"/><axis xyz="{axis}"/>'
        f'<limit lower="{-limit}" upper="{limit}" effort="1" velocity="1"/></joint>'
        for i, (axis, offset) in enumerate(zip(axes, offsets, strict=True))
    ]
    flange = (
        '<joint name="flange" type="fixed"><parent link="l6"/><child link="tool0"/>'
        '<origin xyz="0 0 0.05" rpy="0 0 1.57"/></joint>'
    )
    return f'<robot name="arm">{"".join(parts)}{flange}</robot>'


ARM = Chain.from_urdf(urdf(), "l0", "tool0")
PERIOD_S = 0.2
BENT = np.array([0.3, 0.6, 0.9, 0.2, 0.7, -0.4])
around = st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6).map(np.array)


def test_stretched_out_the_lengths_add_up():
    turn, place = ARM.forward(np.zeros(6))
    np.testing.assert_allclose(place, [0, 0, 1.4], atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


@given(around)
def test_the_jacobian_is_the_derivative(offset):
    positions, tiny = BENT + offset, 1e-6
    jacobian = ARM.jacobian(positions)
    for index in range(6):
        step = np.zeros(6)
        step[index] = tiny
        (turn_a, place_a), (turn_b, place_b) = (
            ARM.forward(positions - step),
            ARM.forward(positions + step),
        )
        np.testing.assert_allclose((place_b - place_a) / (2 * tiny), jacobian[:3, index], atol=1e-6)
        spin = (turn_b - turn_a) / (2 * tiny) @ ((turn_a + turn_b) / 2).T
        np.testing.assert_allclose(
            [spin[2, 1], spin[0, 2], spin[1, 0]], jacobian[3:, index], atol=1e-5
        )


@given(st.lists(st.floats(-0.005, 0.005), min_size=6, max_size=6).map(np.array))
def test_a_small_step_moves_the_hand_as_asked(motion):
    after = ARM.step(BENT, motion, PERIOD_S)
    (_, before), (_, place) = ARM.forward(BENT), ARM.forward(after)
    np.testing.assert_allclose(place - before, motion[:3], atol=8e-4)


anywhere = st.lists(st.floats(-2.9, 2.9), min_size=6, max_size=6).map(np.array)
largest = st.lists(st.floats(-0.03, 0.03), min_size=3, max_size=3).map(np.array)
turn = st.lists(st.floats(-0.16, 0.16), min_size=3, max_size=3).map(np.array)


@given(anywhere, largest, turn)
def test_from_any_pose_neither_joints_nor_hand_go_faster_than_they_may(positions, line, spin):
    """Singular poses included: there the joints would have to race."""
    try:
        after = ARM.step(positions, np.concatenate([line, spin]), PERIOD_S)
    except KinematicsError:
        return
    assert np.abs(after - positions).max() <= 1.0 * PERIOD_S + 1e-9
    moved = np.linalg.norm(ARM.forward(after)[1] - ARM.forward(positions)[1])
    assert moved <= np.linalg.norm(line) + 1.1e-3


def test_a_motion_too_fast_for_a_joint_is_shortened_in_its_direction():
    motion = np.array([0.0, 0.06, 0.0, 0.0, 0.0, 0.0])
    fast = ARM.step(BENT, motion, 10.0) - BENT
    slow = ARM.step(BENT, motion, 0.02) - BENT
    assert np.abs(slow).max() == pytest.approx(0.02)
    np.testing.assert_allclose(slow / np.abs(slow).max(), fast / np.abs(fast).max(), atol=1e-9)


def test_a_singular_pose_is_refused_not_forced():
    with pytest.raises(KinematicsError, match="singular"):
        # Stretched out: it cannot go up.
        ARM.step(np.zeros(6), np.array([0, 0, 0.05, 0, 0, 0]), PERIOD_S)


def test_a_joint_limit_is_named():
    tight = Chain.from_urdf(urdf(limit=0.9), "l0", "tool0")
    with pytest.raises(KinematicsError, match=r"joint j2 .* outside its limits \[-0.900"):
        tight.step(BENT, np.array([0, 0, -0.05, 0, 0, 0]), PERIOD_S)


@pytest.mark.parametrize(
    ("text", "base", "tip", "message"),
    [
        ("no xml", "l0", "tool0", "no XML"),
        (urdf(), "l0", "gripper", "stopped at 'gripper'"),
        (urdf(), "world", "tool0", "stopped at 'l0'"),
        (urdf(), "l6", "tool0", "no movable joint"),
        (urdf().replace("revolute", "floating"), "l0", "tool0", "floating"),
        (urdf().replace('velocity="1"', 'velocity="0"'), "l0", "tool0", "joint j5 .* velocity=0"),
        (urdf().replace('lower="-3.0"', 'lower="low"'), "l0", "tool0", "joint j5 has lower='low'"),
        (urdf().replace('xyz="0 0 0.1"', 'xyz="0 0"'), "l0", "tool0", "xyz='0 0' .* 3 number"),
        (re.sub("<limit.*?/>", "", urdf()), "l0", "tool0", "joint j5 is revolute and has no limit"),
        (urdf().replace('axis xyz="0 0 1"', 'axis xyz="0 0 0"'), "l0", "tool0",
         "joint j5 has axis xyz='0 0 0'"),
        (urdf().replace("<limit", '<mimic joint="j0"/><limit'), "l0", "tool0",
         r"joint j5 follows joint j0 \(mimic\)"),
        (urdf().replace('rpy="0 0 0"', 'rpy="0 nan 0"'), "l0", "tool0", "rpy='0 nan 0'"),
    ],
)
def test_a_description_that_does_not_fit(text, base, tip, message):
    with pytest.raises(KinematicsError, match=message):
        Chain.from_urdf(text, base, tip)


def test_continuous_joints_have_no_limits():
    free = Chain.from_urdf(urdf(limit=0.0).replace("revolute", "continuous"), "l0", "tool0")
    assert math.isinf(free.joints[0].upper)
    free.step(BENT, np.full(6, 0.001), PERIOD_S)


def test_a_continuous_joint_needs_no_speed_limit():
    text = urdf().replace('type="revolute"', 'type="continuous"', 1).replace(
        '<limit lower="-3.0" upper="3.0" effort="1" velocity="1"/>', "", 1)
    arm = Chain.from_urdf(text, "l0", "tool0")
    motion = np.array([0.0, 0.004, 0.0, 0.0, 0.0, 0.0])
    after = arm.step(BENT, motion, PERIOD_S)
    np.testing.assert_allclose(after, ARM.step(BENT, motion, PERIOD_S))
    fast = arm.step(BENT, 50 * motion, 0.05)
    assert np.isfinite(fast).all() and np.abs(fast - BENT).max() <= 0.05 + 1e-9
