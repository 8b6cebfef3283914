# SPDX-License-Identifier: Apache-2.0
"""What Servo does with a twist, and why an arm behind it stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.arms.servo import CommandType, ServoSettings, ServoStatus, TwistCommand

OVER_THE_TABLE = np.array([0.45, 0.05, 0.15])
PERIOD_S = 0.02
SECOND_NS = 1_000_000_000
FORWARD = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])


def ready(name: str = "panda", **settings) -> StandInArm:
    arm = StandInArm(ARMS[name], "twist", ServoSettings(**settings))
    arm.place(OVER_THE_TABLE)
    assert arm.servo.switch(CommandType.TWIST)
    return arm


def drive(arm: StandInArm, twist, seconds: float, frame: str = "", every_s: float = PERIOD_S):
    """Repeat a command; returns how the tip moved, (3,) m."""
    before, _ = arm.tip
    for tick in range(round(seconds / PERIOD_S)):
        now_ns = SECOND_NS + round(tick * PERIOD_S * 1e9)
        if tick % round(every_s / PERIOD_S) == 0:
            arm.servo.hear(TwistCommand(np.array(twist), frame or arm.model.base, now_ns))
        arm.advance(now_ns, PERIOD_S)
    return arm.tip[0] - before


@pytest.mark.parametrize("name", list(ARMS))
def test_a_velocity_becomes_that_motion_of_the_tip(name) -> None:
    arm = ready(name)
    np.testing.assert_allclose(drive(arm, FORWARD, 1.0), [0.1, 0.0, 0.0], atol=2e-3)
    np.testing.assert_allclose(drive(arm, [0, 0.05, -0.05, 0, 0, 0.3], 1.0),
                               [0.0, 0.05, -0.05], atol=2e-3)  # fmt: skip
    assert arm.tip[1] == pytest.approx(0.3, abs=0.01) and arm.problem == ""


def test_a_velocity_may_be_given_in_the_frame_of_the_tip() -> None:
    arm = ready()
    down = drive(arm, [0, 0, 0.05, 0, 0, 0], 1.0, frame="panda_hand_tcp")
    np.testing.assert_allclose(down, [0.0, 0.0, -0.05], atol=1e-3)


def test_it_stops_a_tenth_of_a_second_after_the_last_stamp() -> None:
    arm = ready()
    arm.servo.hear(TwistCommand(FORWARD, arm.model.base, SECOND_NS))
    arm.advance(SECOND_NS + 99_000_000, PERIOD_S)
    moving = arm.tip[0][0]
    assert moving > OVER_THE_TABLE[0]
    arm.advance(SECOND_NS + 100_000_000, PERIOD_S)
    assert arm.tip[0][0] == moving
    arm.servo.hear(TwistCommand(FORWARD, arm.model.base, SECOND_NS))
    arm.advance(SECOND_NS + 200_000_000, PERIOD_S)
    assert arm.tip[0][0] == moving, "an old stamp that comes late moves nothing"


def test_nothing_moves_before_it_is_switched_to_twists() -> None:
    arm = StandInArm(ARMS["panda"], "twist")
    assert not drive(arm, FORWARD, 0.02).any()
    assert arm.motion.status is ServoStatus.INVALID and "switch_command_type" in arm.problem
    assert not arm.servo.switch(7) and arm.servo.switch(CommandType.TWIST)


def test_unitless_commands_are_scaled() -> None:
    moved = drive(ready(command_in_type="unitless"), FORWARD, 1.0)
    np.testing.assert_allclose(moved, [0.4 * 0.1, 0.0, 0.0], atol=1e-3)


def test_in_speed_units_the_scale_is_the_largest_speed() -> None:
    moved = drive(ready(scale_linear=0.05), FORWARD, 1.0)
    np.testing.assert_allclose(moved, [0.05, 0.0, 0.0], atol=1e-3)


@pytest.mark.parametrize(
    ("twist", "frame", "reason"),
    [
        (FORWARD, "camera", "no transform from 'camera'"),
        (np.full(6, np.nan), "panda_link0", "not finite"),
    ],
)
def test_what_it_cannot_follow_halts_it(twist, frame, reason) -> None:
    arm = ready()
    assert not drive(arm, twist, 0.02, frame).any()
    assert arm.motion.status is ServoStatus.INVALID and reason in arm.problem


def test_near_a_singular_pose_it_slows_down() -> None:
    """Reaching out: the nearer the elbow is to straight, the slower; never through it."""
    arm = ready("ur5")
    speeds, told = [], []
    for _ in range(400):
        speeds.append(float(drive(arm, [0.2, 0, 0, 0, 0, 0], PERIOD_S)[0]) / PERIOD_S)
        told.append((arm.motion.status, arm.problem))
    slow = next(step for step, speed in enumerate(speeds) if speed < 0.02)
    # Later it comes so near to the hard stop that rounding says on which side of it it stands.
    halted = (ServoStatus.DECELERATE_FOR_APPROACHING_SINGULARITY, ServoStatus.HALT_FOR_SINGULARITY)
    assert told[slow][0] is halted[0] and all(status in halted for status, _ in told[slow:])
    assert "decelerate for approaching singularity" in told[slow][1]
    assert speeds[0] == pytest.approx(0.2, abs=0.01) and max(map(abs, speeds[slow:])) < 0.02
    assert arm.positions[2] > 0.1, "the elbow is not straight"
    back = drive(arm, [-0.2, 0, 0, 0, 0, 0], 0.5)
    assert back[0] < -0.01, "the way out is open"


def test_in_a_singular_pose_it_halts() -> None:
    arm = ready("ur5", lower_singularity_threshold=2.0, hard_stop_singularity_threshold=3.0,
                leaving_singularity_threshold_multiplier=1.0)  # fmt: skip
    assert not drive(arm, FORWARD, 0.1).any()
    assert arm.motion.status is ServoStatus.HALT_FOR_SINGULARITY


def test_a_joint_near_its_limit_halts_all() -> None:
    arm = ready()
    elbow = arm.model.chain.movable[3]
    for _ in range(300):
        drive(arm, [-0.15, 0, 0, 0, 0, 0], PERIOD_S)
    assert arm.motion.status is ServoStatus.JOINT_BOUND and elbow.name in arm.problem
    assert arm.positions[3] > elbow.lower
    standing = arm.positions
    drive(arm, [-0.15, 0, 0, 0, 0, 0], 0.1)
    np.testing.assert_array_equal(arm.positions, standing)
    assert drive(arm, [0.1, 0, 0, 0, 0, 0], 0.2)[0] > 0.01, "the way back is open"


def test_no_joint_goes_faster_than_it_can() -> None:
    arm = ready(scale_linear=10.0, lower_singularity_threshold=1e5,
                hard_stop_singularity_threshold=1e6)  # fmt: skip
    before = arm.positions
    drive(arm, [0, 9.0, 0, 0, 0, 0], PERIOD_S)
    speeds = np.abs(arm.positions - before) / PERIOD_S
    limits = np.array([joint.speed for joint in arm.model.chain.movable])
    assert np.max(speeds / limits) == pytest.approx(1.0)


def test_settings_are_those_of_servo() -> None:
    assert replace(ServoSettings(), command_in_type="unitless").scale_linear == 0.4
