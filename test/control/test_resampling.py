# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.control.resampling import ZEROS_AFTER_STOP, Command, CommandHold

MOVE = Command(np.full(6, 0.1), 1.0, 0.2)


def test_nothing_is_sent_before_the_first_command():
    hold = CommandHold()
    assert hold.sample(0.0) is None
    hold.stop()
    assert hold.sample(1.0) is None
    assert hold.quiet


def test_a_command_is_repeated_then_zero_then_silence():
    hold = CommandHold()
    hold.put(MOVE, now_s=0.0, hold_s=0.3)
    assert hold.sample(0.0) is MOVE
    assert hold.sample(0.29) is MOVE
    zeros = [hold.sample(0.3 + tick / 30) for tick in range(ZEROS_AFTER_STOP + 2)]
    assert all(np.all(command.twist == 0) for command in zeros[:ZEROS_AFTER_STOP])
    assert zeros[ZEROS_AFTER_STOP:] == [None, None]


def test_the_gripper_keeps_its_hold_when_the_arm_stops():
    hold = CommandHold()
    hold.put(MOVE, 0.0, 0.3)
    hold.stop()
    assert hold.sample(0.1).gripper is None


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
            command = hold.sample(now)
            if now < expiry:
                assert command is MOVE
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
    command = hold.sample(later)
    assert command is not None and not command.twist.any()
    np.testing.assert_array_equal(hold.twist, np.zeros(6))
