# SPDX-License-Identifier: Apache-2.0
"""Limits never keep an arm from stopping; a live change of them goes one way only."""

import numpy as np
import pytest

from test.driving.rig import SECOND
from test.nodes.policies import SCRIPT, STEP
from vla_infoentropy_ros.control.limits import approach
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.robot_state import Pose

FORWARD = np.array([0.25, 0.0, 0.0, 0.0, 0.0, 0.5])


@pytest.mark.parametrize("limit", [0.0, -0.0, 5e-324, 0.1])
@pytest.mark.parametrize("wanted", [0.0, -1.0, 0.4])
def test_braking_is_not_bounded_by_what_bounds_speeding_up(limit, wanted):
    settings = CommandSettings(max_linear_acceleration=limit, max_angular_acceleration=limit)
    twist = approach(FORWARD * wanted, FORWARD, 0.2, settings).twist
    grown = np.maximum(0.0, np.sign(wanted) * FORWARD * wanted) if wanted > 0 else np.zeros(6)
    assert np.linalg.norm(twist - grown) <= 2 * limit * 0.2 + 1e-8
    assert np.linalg.norm(twist) <= np.linalg.norm(FORWARD)


@pytest.mark.parametrize("limit", [0.0, 5e-324])
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_an_arm_that_may_not_speed_up_stands_when_it_is_asked_to(bench, limit, factor):
    rig = bench(command__max_linear_speed=0.25)
    rig.drive()
    rig.periods(6, look=True)
    assert rig.arm.twists[-1][:3].any()
    rig.change(command__max_linear_acceleration=limit)
    SCRIPT.values = (*(factor * v for v in STEP[:3]), *STEP[3:])
    rig.periods(1, look=True)
    assert np.abs(rig.arm.twists[-1][:3]).max() < 1e-9


WIDER = {
    "command.max_linear_speed": 5.0,
    "command.deadline_s": 3600.0,
    "command.camera_timeout_s": 3600.0,
    "command.exclusive": False,
    "command.workspace_low": (-1.0, -1.0, -0.5),
    "command.workspace_high": (1.0, 1.0, 1.5),
    "command.base_frame": "world",
    "command.hold_periods": 9.0,
    "session.accept_bins": 4,
    # Whoever enabled it enabled a policy that sees.
    "selector": "stale",
    "selection.fresh_tokens": 0,
}


@pytest.mark.parametrize("name", WIDER)
def test_widening_needs_a_new_enable(bench, name):
    rig = bench()
    rig.drive()
    rig.change(**{name: WIDER[name]})
    assert not rig.arm.moving and not rig.driver.commander.interlock.enabled
    assert name in rig.driver.detail()
    rig.periods(1, look=True)
    assert not rig.arm.moving
    rig.drive()


def test_tightening_applies_to_what_is_being_sent(bench):
    rig = bench()
    rig.drive()
    rig.periods(1)
    assert np.linalg.norm(rig.arm.twists[-1][:3]) > 0.1
    rig.change(command__max_linear_speed=0.01)
    assert np.linalg.norm(rig.arm.twists[-1][:3]) == pytest.approx(0.01)
    rig.periods(2)
    assert np.linalg.norm(rig.arm.twists[-1][:3]) == pytest.approx(0.01)
    assert rig.driver.commander.interlock.enabled
    rig.change(command__max_linear_speed=0.0, command__max_angular_speed=0.0)
    assert not rig.arm.twists[-1].any()


def test_a_shorter_hold_ends_the_command_that_is_held(bench):
    rig = bench(command__hold_periods=10.0, command__camera_timeout_s=20.0)
    rig.drive()
    rig.change(command__hold_periods=1.0)
    rig.periods(5)
    assert rig.arm.moving
    rig.periods(2)
    assert not rig.arm.moving and rig.driver.commander.interlock.enabled


def test_a_workspace_limit_without_a_pose_stops(bench):
    rig = bench()
    rig.drive()
    rig.change(command__limit_workspace=True)
    assert not rig.arm.moving
    assert rig.driver.commander.interlock.fault.code == "stale_state"


def test_a_workspace_that_becomes_smaller_cuts_what_is_being_sent(bench):
    rig = bench(command__limit_workspace=True)
    here = Pose(np.array([0.4, 0.0, 0.3]), (1.0, 0.0, 0.0, 0.0))
    rig.driver.robot.hear_pose(here, "base_link", rig.clock.now_ns())
    rig.drive()
    assert rig.arm.twists[-1][0] > 0.0
    rig.change(command__workspace_high=(0.4, 1.0, 1.0))
    assert rig.arm.twists[-1][0] == 0.0 and rig.arm.twists[-1][2] < 0.0


def test_an_arm_under_way_to_a_pose_stops_when_limits_become_tighter(bench):
    rig = bench(command__output="pose")
    here = Pose(np.array([0.4, 0.0, 0.3]), (1.0, 0.0, 0.0, 0.0))
    rig.driver.robot.hear_pose(here, "base_link", rig.clock.now_ns())
    assert rig.driver.enable(True)[0]
    rig.look()
    assert rig.arm.sent[-1][1].pose.position[0] > 0.4
    rig.change(command__max_linear_speed=0.01)
    assert rig.arm.sent[-1][1].pose.position[0] == 0.4
    assert rig.clock.now_ns() > SECOND
