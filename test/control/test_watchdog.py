# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.control.faults import (
    CAMERA_FROZEN,
    CAMERA_SILENT,
    DEADLINE,
    FAULT_CODES,
    INVALID_ACTION,
    Fault,
    Interlock,
)
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.control.watchdog import StampGuard, Watchdog

SETTINGS = CommandSettings(camera_timeout_s=0.5, deadline_s=0.4)
SECOND = 1_000_000_000


def test_stamps_must_be_new_in_order_and_believable():
    guard = StampGuard()
    assert guard.check(10 * SECOND, 10 * SECOND, 0.5).usable
    assert guard.check(10 * SECOND, 10 * SECOND, 0.5).counted_as == "dropped"
    assert "out of order by 1.000 s" in guard.check(9 * SECOND, 10 * SECOND, 0.5).reason
    assert "stamp is zero" in guard.check(0, 10 * SECOND, 0.5).reason
    assert "use_sim_time" in guard.check(12 * SECOND, 10 * SECOND, 0.5).reason
    assert guard.check(11 * SECOND, 11 * SECOND, 0.5).usable


@given(st.lists(st.integers(-SECOND, 20 * SECOND), max_size=50))
def test_accepted_stamps_always_rise(stamps):
    guard = StampGuard()
    accepted = [stamp for stamp in stamps if guard.check(stamp, 20 * SECOND, 0.0).usable]
    assert accepted == sorted(set(accepted))


def test_a_clock_that_jumps_back_is_told_once():
    guard = StampGuard()
    assert not guard.clock_jumped(100 * SECOND)
    assert not guard.clock_jumped(100 * SECOND - SECOND // 20)  # an adjustment, no jump
    assert guard.clock_jumped(1 * SECOND)
    assert not guard.clock_jumped(1 * SECOND + 1)


def test_waiting_is_no_fault_before_the_first_command():
    assert Watchdog().camera_fault(1e6, SETTINGS) is None


def test_a_silent_camera_and_a_frozen_one_are_told_apart():
    silent, frozen = Watchdog(), Watchdog()
    for watchdog in (silent, frozen):
        watchdog.image(0.0, usable=True)
        watchdog.arm()
        assert watchdog.camera_fault(0.5, SETTINGS) is None
    frozen.image(0.4, usable=False)
    assert silent.camera_fault(0.6, SETTINGS).code == CAMERA_SILENT
    assert frozen.camera_fault(0.6, SETTINGS).code == CAMERA_FROZEN


def test_a_late_step_counts_once_wherever_it_is_noticed():
    noticed_by_timer, noticed_at_end = Watchdog(), Watchdog()
    for watchdog in (noticed_by_timer, noticed_at_end):
        watchdog.step_begins(0.0)
    assert noticed_by_timer.overdue(0.5, SETTINGS)
    assert not noticed_by_timer.overdue(1.6, SETTINGS)
    for watchdog in (noticed_by_timer, noticed_at_end):
        assert not watchdog.step_ends(1.7, SETTINGS)
        assert watchdog.deadline_misses == 1
        assert watchdog.deadline_fault(SETTINGS).code == DEADLINE


PATIENT = CommandSettings(deadline_s=0.4, tolerated_misses=1)


def test_tolerated_misses_are_forgotten_by_a_step_in_time_and_by_an_enable_only():
    watchdog = Watchdog()

    def misses(now_s: float) -> bool:
        watchdog.step_begins(now_s)
        assert not watchdog.step_ends(now_s + 0.5, PATIENT)
        fault = watchdog.deadline_fault(PATIENT) is not None
        watchdog.disarm()  # every miss stops the robot
        return fault

    assert not misses(0.0)
    watchdog.step_begins(1.0)
    assert watchdog.step_ends(1.1, PATIENT)
    assert not misses(2.0)
    assert misses(3.0)
    watchdog.forgive()
    assert not misses(4.0)


def test_a_step_that_never_ends_uses_up_what_is_tolerated():
    watchdog = Watchdog()
    watchdog.step_begins(0.0)
    noticed = [now_s for now_s in range(20) if watchdog.overdue(float(now_s), PATIENT)]
    assert noticed == [1, 2]
    assert watchdog.deadline_fault(PATIENT) is not None


def test_motion_needs_both_interlocks_and_no_fault():
    interlock = Interlock(dry_run=True)
    assert not interlock.may_move and "dry run" in interlock.why_not()
    ok, message = interlock.enable(True)
    assert ok and "dry_run" in message and not interlock.may_move
    interlock.dry_run = False
    assert not interlock.may_move and "enable" in interlock.why_not(), "enabled for a dry run only"
    interlock.enable(True)
    assert interlock.may_move and interlock.why_not() == ""
    interlock.dry_run = True
    interlock.dry_run = False
    assert not interlock.may_move


def test_after_a_fault_two_deliberate_calls_are_needed():
    interlock = Interlock(dry_run=False)
    interlock.enable(True)
    assert interlock.latch(Fault(INVALID_ACTION, "NaN"))
    assert not interlock.latch(Fault(DEADLINE, "a consequence")), "the cause stays"
    assert interlock.fault.code == INVALID_ACTION
    refused, message = interlock.enable(True)
    assert not refused and "clear_fault" in message
    assert "enable" in interlock.clear()
    assert not interlock.may_move, "clearing alone resumes nothing"
    interlock.enable(True)
    assert interlock.may_move


@given(st.lists(st.sampled_from(["enable", "disable", "latch", "clear", "dry", "live"])))
def test_nothing_but_an_enable_ever_starts_motion(calls):
    interlock = Interlock(dry_run=False)
    for call in calls:
        could = interlock.may_move
        {
            "enable": lambda: interlock.enable(True),
            "disable": lambda: interlock.enable(False),
            "latch": lambda: interlock.latch(Fault(DEADLINE, "late")),
            "clear": interlock.clear,
            "dry": lambda: setattr(interlock, "dry_run", True),
            "live": lambda: setattr(interlock, "dry_run", False),
        }[call]()
        if interlock.may_move and not could:
            assert call == "enable"


def test_fault_codes_are_documented():
    assert all(FAULT_CODES.values())
    with pytest.raises(ValueError, match="camera_silent"):
        Fault("unheard_of", "?")
