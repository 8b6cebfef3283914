# SPDX-License-Identifier: Apache-2.0
"""A policy slower than its control period of 0.2 s: what the arm does, and what is said."""

import itertools
import re

import numpy as np
import pytest

from test.nodes.policies import STEP
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.pace import Pace, StepTimes, check_pace
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.knobs import SettingError

PERIOD_S = 0.2
TICK_S = 1 / 30
ASKED = np.array(STEP[:6])


@pytest.fixture
def slow(bench):
    """Ways (n, 6) between one action and the next, m and rad, and how much of them was spent at
    rest, of a policy with an action every so many ticks."""

    def run(ticks, actions=12, **values):
        rig = bench(command__camera_timeout_s=20.0, command__deadline_s=20.0,
                    command__max_observation_age_s=20.0, **values)
        rig.drive()
        marks = []
        for _ in range(actions):
            marks.append(rig.clock.steady_s())
            rig.periods(ticks)
            rig.look()
        times = np.array([time_s for time_s, _ in rig.arm.sent])
        twists = np.array([target.twist for _, target in rig.arm.sent])
        # A velocity holds until the next is sent, or for as long as Servo believes it.
        spans = np.minimum(np.diff(times, append=times[-1]), 0.1)
        ways, rest = [], []
        for begin, end in itertools.pairwise(marks):
            within = (times >= begin - 1e-9) & (times < end - 1e-9)
            ways.append((twists[within] * spans[within, None]).sum(0))
            rest.append(1.0 - spans[within & twists.any(1)].sum() / (end - begin))
        return np.array(ways), np.array(rest), rig

    return run


def test_stretched_an_action_is_as_long_a_way_and_the_arm_does_not_stand(slow):
    ways, rest, rig = slow(12)  # 0.4 s
    np.testing.assert_allclose(ways[3:], np.tile(ASKED, (len(ways) - 3, 1)), rtol=0.02, atol=1e-9)
    assert rest[3:].max() < 1e-6
    assert rig.driver.commander.apart_s == pytest.approx(0.4)
    assert "400 ms apart, later than the 200 ms" in rig.driver.commander.slow()
    assert "at a lower speed" in rig.driver.commander.slow()


def test_held_it_is_further_than_asked_and_then_the_arm_stands(slow):
    ways, rest, rig = slow(12, command__slow_policy="hold")
    for way in ways[1:]:
        np.testing.assert_allclose(way, 1.5 * ASKED, rtol=0.12, atol=1e-9)
    assert rest[1:].min() > 0.15
    assert "up to 1.5 times the way" in rig.driver.commander.slow()


@pytest.mark.parametrize("slow_policy", ["stretch", "hold"])
def test_a_policy_in_time_is_left_as_it_is(slow, slow_policy):
    ways, rest, rig = slow(6, command__slow_policy=slow_policy)
    np.testing.assert_allclose(ways[1:], np.tile(ASKED, (len(ways) - 1, 1)), rtol=0.02, atol=1e-9)
    assert rest[1:].max() < 1e-6 and rig.driver.commander.slow() == ""


def test_a_camera_that_waits_for_the_policy_is_not_slow(bench):
    """In lockstep 0.4 s of the wall's clock pass between two images, of ROS time 0.2 s."""
    rig = bench(command__camera_timeout_s=20.0, command__deadline_s=20.0,
                command__max_observation_age_s=20.0)
    rig.drive()
    stamp_ns = rig.clock.now_ns()
    for _ in range(8):
        rig.clock.pass_s(0.4)
        stamp_ns += round(PERIOD_S * 1e9)
        now_ns, rig.clock.now_ns = rig.clock.now_ns, lambda at=stamp_ns: at
        rig.look(stamp_ns)
        rig.clock.now_ns = now_ns
    np.testing.assert_allclose(rig.arm.twists[-1], ASKED / PERIOD_S)


def test_a_stop_is_no_pace(bench):
    rig = bench(command__camera_timeout_s=20.0)
    rig.drive()
    for _ in range(4):
        rig.periods(6)
        rig.look()
    rig.driver.reset()
    rig.periods(90)
    rig.look()
    assert rig.driver.commander.apart_s == pytest.approx(PERIOD_S)


def test_nothing_is_stretched_beyond_the_deadline():
    pace = Pace()
    for second in range(6):
        pace.acted(10**9 * (1 + 2 * second))
    assert pace.action_s(PERIOD_S, CommandSettings(deadline_s=0.5)) == 0.5
    assert pace.action_s(PERIOD_S, CommandSettings(deadline_s=5.0)) == 2.0
    assert pace.action_s(PERIOD_S, CommandSettings(slow_policy="hold")) == PERIOD_S
    chunked = CommandSettings(execute_actions=2)
    assert pace.action_s(PERIOD_S, chunked) == PERIOD_S
    assert "later than the 400 ms" in pace.told(PERIOD_S, chunked)


def test_one_refresh_does_not_slow_an_arm_down():
    pace = Pace()
    for at_ns in np.cumsum([0.2, 0.2, 0.2, 0.9, 0.2, 0.2]) * 1e9:
        pace.acted(int(at_ns))
    assert pace.action_s(PERIOD_S, CommandSettings()) == pytest.approx(PERIOD_S)


@pytest.mark.parametrize(
    ("times", "rate_hz", "told"),
    [
        (StepTimes(), 0.0, ""),
        (StepTimes(dense=180.0, reusing=90.0), 0.0, ""),
        (StepTimes(dense=300.0, reusing=90.0), 0.0, "reuses nothing, .* takes 300 ms, longer"),
        (StepTimes(dense=600.0, reusing=350.0), 0.0, "actions come 350 ms apart"),
        (StepTimes(dense=90.0, reusing=45.0), 2.0, "actions come 500 ms apart"),
    ],
)
def test_it_is_said_when_the_policy_is_loaded(times, rate_hz, told):
    said = check_pace(times, PERIOD_S, rate_hz, CommandSettings())
    assert re.search(told, said) if told else said == ""


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (StepTimes(dense=499.0, reusing=90.0), ""),
        (StepTimes(dense=612.0, reusing=90.0), "; a step that reuses nothing, 612 ms, will miss"),
        (StepTimes(dense=612.0, reusing=219.0), "actions come .*; a step that reuses nothing, 612"),
        (StepTimes(dense=612.0, reusing=510.0), "; every step will miss command.deadline_s=0.5,"),
    ],
)
def test_a_deadline_that_will_be_missed_is_said_before_the_robot_stops_for_it(times, told):
    said = check_pace(times, PERIOD_S, 0.0, CommandSettings(deadline_s=0.5))
    assert re.search(told, said) if told else "deadline" not in said


def test_a_slow_policy_is_refused_where_that_is_wanted():
    refuse = CommandSettings(slow_policy="refuse")
    with pytest.raises(SettingError, match=r"350 ms apart.*set command.slow_policy to stretch or"):
        check_pace(StepTimes(600.0, 350.0), PERIOD_S, 0.0, refuse)
    with pytest.raises(SettingError, match="self_test='' switches off"):
        check_pace(StepTimes(), PERIOD_S, 0.0, refuse)
    assert check_pace(StepTimes(90.0, 45.0), PERIOD_S, 0.0, refuse) == ""


def test_refused_it_is_not_loaded(bench):
    with pytest.raises(SettingError, match="switches off"):
        bench(command__slow_policy="refuse")
    assert PolicyNodeSettings().command.slow_policy == "stretch"
