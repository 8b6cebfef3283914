# SPDX-License-Identifier: Apache-2.0
"""The stand-in's models against what their makers say, and where they begin."""

from __future__ import annotations

import importlib.util
import math
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from vla_infoentropy_ros.arms.models import ARMS, tip_yaw
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.sim.scene import WORKSPACE_HIGH, WORKSPACE_LOW

OTHERS = Path(sysconfig.get_path("purelib"), "cmeel.prefix/share/example-robot-data/robots")
PANDA, UR5 = ARMS["panda"], ARMS["ur5"]


def test_a_stretched_panda_is_as_tall_as_its_links_say() -> None:
    turn, place = PANDA.chain.forward(np.zeros(7))
    np.testing.assert_allclose(place, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107 - 0.1034],
                               atol=1e-12)  # fmt: skip
    assert turn[2, 2] == pytest.approx(-1.0), "the hand points down"


def test_a_stretched_ur5_reaches_as_far_as_its_links_say() -> None:
    flange = Chain.from_urdf(UR5.urdf, "base_link", "tool0")
    _, place = flange.forward(np.zeros(6))
    np.testing.assert_allclose(place, [0.425 + 0.39225, 0.10915 + 0.0823, 0.089159 - 0.09465],
                               atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("arm", ARMS.values(), ids=list(ARMS))
@pytest.mark.parametrize("yaw", [0.0, 0.6, -0.6])
def test_they_reach_the_tabletop_hand_down(arm, yaw) -> None:
    middle = (WORKSPACE_LOW + WORKSPACE_HIGH) / 2
    corner = np.array([0.1, 0.15, -0.08])
    for place in (middle, middle + corner, middle - corner):
        joints = arm.reach(place, yaw)
        turn, found = arm.chain.forward(joints)
        np.testing.assert_allclose(found, place, atol=1e-8)
        assert tip_yaw(turn) == pytest.approx(yaw, abs=1e-8) and turn[2, 2] == pytest.approx(-1.0)
        limits = [(joint.lower, joint.upper) for joint in arm.chain.movable]
        assert all(low < q < high for q, (low, high) in zip(joints, limits, strict=True))


def test_what_is_out_of_reach_is_said() -> None:
    with pytest.raises(KinematicsError, match=r"the ur5 does not reach \[1.5, 0.0, 0.1\]"):
        UR5.reach(np.array([1.5, 0.0, 0.1]))


@pytest.mark.skipif(
    importlib.util.find_spec("pinocchio") is None or not OTHERS.is_dir(),
    reason="needs the packages pin and example-robot-data, other descriptions of the same arms",
)
@pytest.mark.parametrize(
    ("arm", "file", "tip", "behind"),
    [
        (PANDA, "panda_description/urdf/panda.urdf", "panda_hand_tcp", 0.0),
        (UR5, "ur_description/urdf/ur5_robot.urdf", "tool0", 0.12),
    ],
    ids=["panda", "ur5"],
)
def test_they_agree_with_the_models_of_example_robot_data(arm, file, tip, behind) -> None:
    """Positions to 0.1 mm, turns, Jacobians and limits: by Pinocchio on other people's URDF."""
    import pinocchio

    robot = pinocchio.buildModelFromUrdf(str(OTHERS / file))
    numbers = [robot.getJointId(name) for name in arm.chain.names]
    assert all(number < robot.njoints for number in numbers)
    places = [robot.joints[number].idx_q for number in numbers]
    speeds = [robot.joints[number].idx_v for number in numbers]
    data, frame = robot.createData(), robot.getFrameId(tip)
    rng = np.random.default_rng(0)
    for _ in range(50):
        joints = rng.uniform(-math.pi, math.pi, len(numbers))
        q = pinocchio.neutral(robot)
        q[places] = joints
        pinocchio.forwardKinematics(robot, data, q)
        pinocchio.updateFramePlacements(robot, data)
        theirs = data.oMf[frame]
        turn, place = arm.chain.forward(joints)
        np.testing.assert_allclose(place - behind * turn[:, 2], theirs.translation, atol=1e-4)
        np.testing.assert_allclose(turn, theirs.rotation, atol=1e-4)
        chain = Chain.from_urdf(arm.urdf, arm.base, tip)
        jacobian = pinocchio.computeFrameJacobian(
            robot, data, q, frame, pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )[:, speeds]
        np.testing.assert_allclose(chain.jacobian(joints), jacobian, atol=1e-4)
    for joint, place, speed in zip(arm.chain.movable, places, speeds, strict=True):
        assert joint.lower == pytest.approx(robot.lowerPositionLimit[place], abs=1e-4)
        assert joint.upper == pytest.approx(robot.upperPositionLimit[place], abs=1e-4)
        assert joint.speed == pytest.approx(robot.velocityLimit[speed], abs=0.07)
