# SPDX-License-Identifier: Apache-2.0
"""Chunks of actions from image to arm: a clock that is set, no thread, no middleware."""

from __future__ import annotations

import math

import numpy as np
import pytest

from test.driving.rig import SCRIPTED, SECOND, Bench
from test.nodes.policies import LOAD, SCRIPT, STEP
from vla_infoentropy_ros.driving.telling import action_values
from vla_infoentropy_ros.knobs import SettingError

SPEEDS = (0.1, 0.05, -0.05, -0.1)  # m/s along x, one a control period of 0.2 s


def script(*speeds: float) -> None:
    rows = tuple((0.2 * speed, *STEP[1:]) for speed in speeds)
    SCRIPT.values, SCRIPT.further = rows[0], rows[1:]


@pytest.fixture
def rig(bench):
    """Carries out two of four actions; nothing has been looked at yet."""
    made = bench(model=f"{LOAD}:chunks", command__execute_actions=2,
                 command__max_linear_acceleration=100.0)
    script(*SPEEDS)
    return made


def along_x(rig: Bench) -> list[float]:
    """The distinct velocities that were sent, in order."""
    sent = [round(float(twist[0]), 6) for twist in rig.arm.twists]
    return [speed for at, speed in enumerate(sent) if at == 0 or speed != sent[at - 1]]


def test_two_actions_then_zero(rig):
    rig.drive()
    rig.periods(16)
    assert along_x(rig) == [0.1, 0.05, 0.0]
    moved = [at for at, target in rig.arm.sent if target.twist[0] == pytest.approx(0.05)]
    begun = rig.arm.sent[0][0]
    assert moved[0] - begun == pytest.approx(0.2, abs=1 / 30 + 1e-6)
    assert moved[-1] - begun == pytest.approx(0.5, abs=1 / 30 + 1e-6), "held for 1.5 periods"


def test_the_next_chunk_is_computed_meanwhile_and_takes_over_at_its_time(rig):
    rig.drive()
    rig.periods(4)
    rig.look()
    assert len(rig.heard.steps) == 1, "it is too early for the next"
    script(0.2, 0.15, 0.12, 0.09)
    rig.periods(2)  # at 0.2 s; the next image comes in 0.07 s
    rig.look()
    rig.periods(5)
    rig.look()
    assert len(rig.heard.steps) == 2
    rig.periods(16)
    # Seen and ready at 0.37 s, so its row for 0.4 s is the first.
    assert along_x(rig) == [0.1, 0.05, 0.2, 0.15, 0.0]


def test_an_old_picture_loses_its_first_actions(rig):
    rig.clock.pass_s(0.001)
    assert rig.driver.enable(True)[0]
    rig.look(rig.clock.now_ns() - SECOND // 4)
    rig.periods(16)
    assert along_x(rig) == [0.05, -0.05, 0.0]
    step = rig.heard.steps[0]
    told = action_values(step, rig.driver.commander.convention, "base_link")
    assert told["row"] == 1 and told["command"][0] == pytest.approx(0.05)
    assert told["chunk"].reshape(4, 7)[:, 0] == pytest.approx([0.02, 0.01, -0.01, -0.02])
    assert told["values"][0] == pytest.approx(0.02)


def test_a_chunk_that_waits_tells_which_of_its_actions_is_meant_for_now(rig):
    rig.drive()
    rig.periods(9)  # at 0.3 s, the second of two actions in progress
    script(0.2, 0.15, 0.12, 0.09)
    rig.look(rig.clock.now_ns() - SECOND * 22 // 100)
    assert len(rig.heard.steps) == 2
    told = action_values(rig.heard.steps[1], rig.driver.commander.convention, "base_link")
    assert told["row"] == 1 and told["command"][0] == pytest.approx(0.05)
    rig.periods(3)  # from 0.4 s on it is carried out: seen at 0.08 s, its row for then
    assert along_x(rig) == [0.1, 0.05, 0.15]


@pytest.mark.parametrize("stop", ["rest", "reset", "disable", "fault", "instruction"])
def test_every_stop_drops_the_rest_at_once(rig, stop):
    rig.drive()
    rig.periods(1)
    if stop == "fault":
        rig.driver.robot.clock_jumped()
        rig.clock.set_ns(SECOND)
    else:
        {"rest": rig.driver.rest, "reset": rig.driver.reset,
         "disable": lambda: rig.driver.enable(False),
         "instruction": lambda: rig.driver.instruction("another thing")}[stop]()
    rig.periods(20)
    assert along_x(rig) == [0.1, 0.0]


def test_a_task_that_is_done_ends_with_the_chunk_in_progress(rig):
    rig.drive()
    rig.periods(1)
    rig.driver.finish()
    rig.periods(20)
    assert along_x(rig) == [0.1, 0.05, 0.0]


def test_a_step_that_never_ended_holds_up_nothing_after_the_next_activation(rig):
    rig.driver.commander.step_begins(rig.clock.steady_s())
    rig.driver.deactivate()
    rig.clock.pass_s(1.0)
    rig.driver.activate()
    rig.drive()
    rig.periods(1)
    assert not rig.heard.faults


def test_an_action_is_not_begun_on_too_old_a_picture(rig):
    rig.drive()
    rig.change(command__max_observation_age_s=0.1)  # less than before: what runs goes on
    rig.periods(20)
    assert along_x(rig) == [0.1, 0.0]


def test_a_chunk_decided_before_enabling_moves_nothing(rig):
    rig.look()
    rig.clock.pass_s(0.05)
    assert rig.driver.enable(True)[0]
    rig.periods(10)
    assert rig.arm.twists == []


def test_a_chunk_whose_last_action_ended_is_dropped(rig, bench):
    rig = bench(model=f"{LOAD}:chunks", command__max_observation_age_s=2.0)
    script(*SPEEDS)
    rig.clock.pass_s(0.001)
    assert rig.driver.enable(True)[0]
    rig.look(rig.clock.now_ns() - SECOND * 9 // 10)
    assert rig.heard.steps == [] and rig.arm.twists == []
    assert rig.driver.commander.counters.actions_dropped == 1
    told = "after all of it was due: 4 actions of 200 ms"
    assert told in rig.driver.missing()
    rig.look()
    assert rig.arm.moving and rig.driver.missing() == ""
    for change in (rig.driver.reset, lambda: rig.clock.pass_s(1.5)):
        rig.driver.reset()
        rig.clock.pass_s(1.0)
        rig.look(rig.clock.now_ns() - SECOND * 9 // 10)
        assert told in rig.driver.missing()
        change()
        assert rig.driver.missing() == "waits for an image"


def test_one_bad_number_far_back_is_a_fault(rig):
    script(0.1, 0.05, 0.0, math.nan)
    rig.clock.pass_s(0.001)
    rig.driver.enable(True)
    rig.look()
    assert rig.heard.faults[-1].code == "invalid_action"


def test_a_chunk_shorter_than_what_is_to_be_carried_out_is_refused():
    with pytest.raises(SettingError, match=r"execute_actions=2: this policy decides 1 action"):
        Bench({"command.execute_actions": 2})
    with pytest.raises(SettingError, match=r"ends 0.8 s after .*max_observation_age_s=0.5"):
        Bench({"model": f"{LOAD}:chunks", "command.execute_actions": 4})
    assert SCRIPTED["command.dry_run"] is False


def test_the_newest_chunk_takes_over_at_once_by_default(bench):
    rig = bench(model=f"{LOAD}:chunks", command__max_linear_acceleration=100.0)
    script(*SPEEDS)
    rig.drive()
    rig.periods(2)
    script(0.2)
    SCRIPT.further = ((0.0,) * 7,) * 3
    rig.look()
    rig.periods(1)
    assert along_x(rig) == [0.1, 0.2]
    assert np.allclose(rig.heard.steps[-1].issued.command.twist[0], 0.2)
