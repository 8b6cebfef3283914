# SPDX-License-Identifier: Apache-2.0
"""Goals with a clock that is set: how they begin, are counted and end, and that the robot stops."""

import math

import pytest

from test.driving.rig import Bench
from vla_infoentropy_ros.driving.goal import Goal, Goals, Reason

OTHER = "put it back"


class Pursued:
    """A bench whose driver carries out goals, with what they told."""

    def __init__(self, rig: Bench) -> None:
        self.rig, self.goals = rig, Goals(rig.driver)
        rig.heard.stepped = self.goals.stepped
        self.endings, self.progress, self.given_up = [], [], False
        assert rig.driver.enable(True)[0]

    def begin(self, instruction=OTHER, time_limit_s=0.0, step_limit=0):
        self.goals.begin(
            Goal(
                instruction, time_limit_s, step_limit,
                canceled=lambda: self.given_up,
                progressed=lambda steps, step: self.progress.append(steps),
                ended=self.endings.append,
            )
        )

    def periods(self, count, look=False):
        for _ in range(count):
            self.rig.periods(1, look)
            self.goals.tick()

    @property
    def reasons(self):
        return [ending.reason for ending in self.endings]


@pytest.fixture
def pursued(bench):
    return Pursued(bench())


def rests(pursued):
    """The robot stands, and a new image moves nothing."""
    steps = len(pursued.progress)
    pursued.periods(10, look=True)
    assert not pursued.rig.arm.moving and len(pursued.progress) == steps
    assert not pursued.rig.driver.runner.instruction


def test_a_goal_ends_after_its_steps_with_the_last_one_carried_out(pursued):
    pursued.begin(step_limit=2)
    pursued.periods(2, look=True)
    assert pursued.progress == [1, 2] and pursued.rig.arm.moving and not pursued.endings
    pursued.periods(30)
    (ending,) = pursued.endings
    assert (ending.reason, ending.steps) == (Reason.STEP_LIMIT, 2) and ending.reason.complete
    rests(pursued)


def test_a_goal_ends_after_its_time(pursued):
    pursued.begin(time_limit_s=0.5)
    pursued.periods(14, look=True)
    assert not pursued.endings and pursued.rig.arm.moving
    pursued.periods(2, look=True)
    (ending,) = pursued.endings
    assert ending.reason is Reason.TIME_LIMIT and 0.5 <= ending.duration_s <= 0.54
    rests(pursued)


def test_a_goal_that_takes_anothers_place_is_not_ended_for_it(pursued):
    """It begins while the command timer looks at the one before."""
    goals = pursued.goals
    pursued.begin()
    before = goals._pursuit.goal

    def canceled():
        pursued.begin("put it up")
        return True

    object.__setattr__(before, "canceled", canceled)
    goals.tick()
    assert pursued.reasons == [Reason.SUPERSEDED]
    pursued.periods(2, look=True)
    assert pursued.progress and goals._pursuit.goal.instruction == "put it up"


def test_a_goal_that_nobody_wants_any_more_ends(pursued):
    pursued.begin()
    pursued.periods(2, look=True)
    pursued.given_up = True
    pursued.periods(1, look=True)
    assert pursued.reasons == [Reason.CANCELED] and not pursued.rig.arm.moving
    rests(pursued)


def test_a_goal_that_was_given_up_before_its_turn_is_not_begun(pursued):
    pursued.begin()
    pursued.periods(2, look=True)
    pursued.given_up = True
    pursued.begin("put it there")
    assert pursued.reasons == [Reason.CANCELED] and pursued.rig.arm.moving
    assert pursued.rig.driver.runner.instruction == OTHER, "nor is the one before it ended for it"


def test_a_new_goal_ends_the_one_before(pursued):
    pursued.begin()
    pursued.periods(1, look=True)
    pursued.begin("put it there")
    assert pursued.reasons == [Reason.SUPERSEDED] and not pursued.rig.arm.moving
    pursued.periods(1, look=True)
    assert pursued.progress == [1, 1] and pursued.rig.arm.moving


def test_a_fault_and_the_operator_end_a_goal(pursued):
    pursued.begin()
    pursued.periods(1, look=True)
    pursued.periods(17)
    assert pursued.reasons == [Reason.FAULT] and "camera_silent" in pursued.endings[0].detail
    pursued.rig.driver.commander.clear_fault()
    pursued.rig.driver.enable(True)
    pursued.begin()
    pursued.rig.driver.enable(False)
    pursued.periods(1)
    assert pursued.reasons[1:] == [Reason.DISABLED] and "~/enable" in pursued.endings[1].detail


@pytest.mark.parametrize(
    ("goal", "detail"),
    [
        ({"instruction": " "}, "instruction is empty"),
        ({"time_limit_s": math.nan}, "time_limit=nan: give seconds"),
        ({"time_limit_s": -1.0}, "time_limit=-1.0"),
        ({"instruction": "red " * 1000}, "4,000 characters, at most 1,000 are taken"),
    ],
)
def test_what_cannot_be_wanted_is_refused_before_anything_changes(pursued, goal, detail):
    before = pursued.rig.driver.runner.instruction
    pursued.begin(**goal)
    (ending,) = pursued.endings
    assert ending.reason is Reason.REJECTED and detail in ending.detail
    assert pursued.rig.driver.runner.instruction == before


def test_a_robot_that_may_not_move_takes_no_goal_but_in_a_dry_run(bench):
    pursued = Pursued(bench())
    pursued.rig.driver.enable(False)
    pursued.begin()
    assert pursued.reasons == [Reason.REJECTED] and "~/enable" in pursued.endings[0].detail
    dry = Pursued(bench(command__dry_run=True))
    dry.rig.driver.enable(False)
    dry.begin(step_limit=1)
    dry.periods(2, look=True)
    assert dry.reasons == [Reason.STEP_LIMIT]
    pursued.rig.driver.deactivate()
    pursued.begin()
    assert "not active" in pursued.endings[1].detail
