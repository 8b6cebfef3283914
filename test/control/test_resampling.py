# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.control.test_limits import growth
from vla_infoentropy_ros.control.resampling import ZEROS_AFTER_STOP, Command, CommandHold
from vla_infoentropy_ros.control.settings import CommandSettings

MOVE = Command(np.full(6, 0.05), 1.0, 0.2)
SETTINGS = CommandSettings()
TICK_S = 1.0 / SETTINGS.rate_hz


def test_nothing_is_sent_before_the_first_command():
    hold = CommandHold()
    assert hold.sample(0.0, 0.0, SETTINGS) is None
    hold.stop()
    assert hold.sample(1.0, 1.0, SETTINGS) is None
    assert hold.quiet


def test_a_command_is_repeated_then_zero_then_silence():
    hold = CommandHold()
    hold.put(MOVE, now_s=0.0, hold_s=0.3)
    for now_s in (0.0, 0.29):
        np.testing.assert_array_equal(hold.sample(now_s, now_s, SETTINGS).twist, MOVE.twist)
    later = [0.3 + tick / 30 for tick in range(ZEROS_AFTER_STOP + 2)]
    zeros = [hold.sample(now_s, now_s, SETTINGS) for now_s in later]
    assert all(np.all(command.twist == 0) for command in zeros[:ZEROS_AFTER_STOP])
    assert zeros[ZEROS_AFTER_STOP:] == [None, None]


def test_the_gripper_keeps_its_hold_when_the_arm_stops():
    hold = CommandHold()
    hold.put(MOVE, 0.0, 0.3)
    hold.stop()
    assert hold.sample(0.1, 0.1, SETTINGS).gripper is None


def test_a_hold_without_duration_is_refused():
    with pytest.raises(ValueError, match="hold_s"):
        CommandHold().put(MOVE, 0.0, 0.0)


events = st.lists(
    st.tuples(st.sampled_from(["put", "stop", "sample"]), st.floats(0.0, 0.5)), max_size=60
)


@given(events)
def test_motion_only_within_the_hold_of_a_command_and_zero_after_it(schedule):
    hold, now, expiry, moving = CommandHold(), 0.0, -1.0, False
    for action, wait in schedule:
        now += wait
        if action == "put":
            hold.put(MOVE, now, 0.3)
            expiry = now + 0.3
        elif action == "stop":
            hold.stop()
            expiry = now
        else:
            command = hold.sample(now, now, SETTINGS)
            if now < expiry:
                np.testing.assert_array_equal(command.twist, MOVE.twist)
                moving = True
            else:
                assert command is None or not command.twist.any()
                assert not (moving and command is None), "silence without a zero"
                moving = False


@given(st.floats(0.0, 10.0))
def test_a_stop_is_final(later):
    hold = CommandHold()
    hold.put(MOVE, 0.0, 10.0)
    hold.stop()
    command = hold.sample(later, later, SETTINGS)
    assert command is not None and not command.twist.any()
    np.testing.assert_array_equal(hold.twist, np.zeros(6))


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.integers(0, 8)),
        min_size=1, max_size=8,
    ),
    st.floats(0.1, 5.0),
)
def test_the_stream_keeps_to_the_acceleration_limits_and_arrives(wishes, limit):
    """Whatever the policy asks for, and however fast it asks for something else."""
    settings = replace(SETTINGS, max_linear_acceleration=limit, max_angular_acceleration=limit)
    hold, now_s, before = CommandHold(), 0.0, np.zeros(6)
    for wanted, ticks in wishes:
        hold.put(Command(np.array(wanted), None, 0.2), now_s, 100.0)
        for _ in range(1 + ticks):  # one at once, as the node does
            twist = hold.sample(now_s, now_s, settings).twist
            for part in (slice(0, 3), slice(3, 6)):
                change = growth(before[part], twist[part])
                assert change <= limit * TICK_S + 1e-9
            before = twist
            now_s += TICK_S
    for _ in range(2 + int(2 * 2 * 3**0.5 / (limit * TICK_S))):
        twist = hold.sample(now_s, now_s, settings).twist
        now_s += TICK_S
    np.testing.assert_array_equal(twist, wanted)


def test_two_commands_within_a_tick_do_not_double_the_acceleration():
    settings = replace(SETTINGS, max_linear_acceleration=1.0)
    hold = CommandHold()
    for now_s in (0.0, 0.001):
        hold.put(Command(np.array([1.0, 0, 0, 0, 0, 0]), None, 0.2), now_s, 1.0)
        twist = hold.sample(now_s, now_s, settings).twist
    assert twist[0] == pytest.approx(TICK_S + 0.001)


def test_to_brake_to_stop_and_a_wall_are_no_matters_of_acceleration():
    settings = replace(SETTINGS, max_linear_acceleration=0.1, max_angular_acceleration=0.1)
    hold = CommandHold()
    hold.put(MOVE, 0.0, 10.0, MOVE.twist)
    np.testing.assert_array_equal(hold.sample(0.0, 0.0, settings).twist, MOVE.twist)
    back = Command(-MOVE.twist * [0, 1, 1, 1, 1, 1], None, 0.2)
    hold.put(back, 0.01, 10.0, MOVE.twist * [0, 1, 1, 1, 1, 1])  # a wall along x
    twist = hold.sample(0.01, 0.01, settings).twist
    assert twist[0] == 0.0
    np.testing.assert_allclose(twist[1:], 0.0, atol=0.1 * TICK_S)
    hold.stop()
    assert not hold.sample(0.02, 0.02, settings).twist.any()
    hold.put(MOVE, 0.03, 10.0)
    assert np.linalg.norm(hold.sample(0.03, 0.03, settings).twist[:3]) <= 0.1 * TICK_S + 1e-9
