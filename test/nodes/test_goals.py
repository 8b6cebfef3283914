# SPDX-License-Identifier: Apache-2.0
"""The action ~/execute_instruction: how goals begin, proceed and end."""

from contextlib import contextmanager

import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from std_srvs.srv import SetBool
from vla_infoentropy_ros.action import ExecuteInstruction

from test.nodes.harness import GATE, HELD, WORDS, begin_a_step, driven, until
from test.nodes.policies import SCRIPT
from vla_infoentropy_ros.driving.goal import Reason

pytestmark = pytest.mark.usefixtures("ros")

Goal, Result = ExecuteInstruction.Goal, ExecuteInstruction.Result
OTHER = "put it back"


class User:
    """Sends goals to the node of a rig."""

    def __init__(self, robot, rig):
        self.client = rig.do(
            lambda: ActionClient(robot, ExecuteInstruction, "policy_node/execute_instruction")
        )
        until(self.client.server_is_ready, "no action server")
        self.rig, self.feedback = rig, []

    def send(self, instruction=WORDS, **limits):
        """The handle of a new goal, and the future of its result."""
        goal = Goal(instruction=instruction, **limits)
        future = self.rig.do(
            lambda: self.client.send_goal_async(
                goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
            )
        )
        until(future.done, "no answer to the goal")
        handle = future.result()
        assert handle.accepted
        return handle, self.rig.do(handle.get_result_async)

    def ended(self, future, status, reason):
        until(future.done, "the goal does not end")
        response = future.result()
        assert (response.status, response.result.reason) == (status, reason), response.result
        return response.result

    def aborted(self, future, reason):
        return self.ended(future, GoalStatus.STATUS_ABORTED, reason)


@contextmanager
def working(**overrides):
    """Robot, node and a user of the action; the operator has enabled motion."""
    with driven(**({"command__hold_periods": 10.0} | overrides)) as (robot, node, rig):
        user = User(robot, rig)
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        yield robot, node, user
        rig.do(user.client.destroy)


@contextmanager
def moving(**limits):
    """The robot moves for a goal."""
    with working() as (robot, node, user):
        handle, result = user.send(**limits)
        until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
        robot.act()
        until(lambda: robot.moving, "no motion", lambda: robot.status)
        yield robot, node, user, handle, result


def rests(robot):
    """The robot stands, knows no instruction, and a new image moves nothing."""
    robot.ends_in_zero()
    until(lambda: not robot.status.instruction, "still instructed", lambda: robot.status)
    received, actions = robot.status.frames_received, len(robot.actions)
    robot.look()
    until(lambda: robot.status.frames_received > received, "no image", lambda: robot.status)
    assert len(robot.actions) == actions
    robot.ends_in_zero()


def test_a_goal_of_three_steps():
    reusing = {"selector": "attention_drift", "selection__fresh_tokens": 4}
    with working(command__hold_periods=1.5, **reusing) as (robot, _, user):
        _, future = user.send(step_limit=3)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        steps = [robot.act().step for _ in range(3)]
        result = user.ended(future, GoalStatus.STATUS_SUCCEEDED, Result.STEP_LIMIT)
        assert steps == [0, 1, 2] and result.steps == 3 and result.detail == ""
        assert result.duration > 0.3, "the last command was not carried out"
        until(lambda: len(user.feedback) == 3, "feedback is missing")
        assert [each.steps for each in user.feedback] == [1, 2, 3]
        assert user.feedback[0].reuse_ratio == 0.0 and user.feedback[1].reuse_ratio > 0.0
        assert all(each.image_to_command_ms >= each.latency_ms > 0 for each in user.feedback)
        rests(robot)


def test_a_goal_of_limited_time():
    with moving(time_limit=0.5) as (robot, _, user, _, future):
        result = user.ended(future, GoalStatus.STATUS_SUCCEEDED, Result.TIME_LIMIT)
        assert result.steps == 1 and result.duration >= 0.5
        rests(robot)


def test_cancellation():
    with moving() as (robot, _, user, handle, future):
        assert user.rig.do(handle.cancel_goal_async) is not None
        user.ended(future, GoalStatus.STATUS_CANCELED, Result.CANCELED)
        rests(robot)


@pytest.mark.parametrize("end", ["cancel", "reset", "time"])
def test_a_goal_that_ends_before_its_first_step_is_forgotten(end):
    """Its instruction waits for the step in progress, and must not come into force after it."""
    with working(**HELD) as (robot, node, user):
        robot.drive()
        begin_a_step(robot)
        handle, future = user.send(OTHER, time_limit=0.2 if end == "time" else 0.0)
        if end == "cancel":
            assert user.rig.do(handle.cancel_goal_async) is not None
        elif end == "reset":
            assert robot.call(robot.reset).success
        until(future.done, "the goal does not end")
        GATE.set()
        begun = len(robot.statuses)
        until(lambda: len(robot.statuses) > begun, "no status")
        rests(robot)
        assert not node.driver.runner.instruction


def test_a_fault_ends_the_goal_and_says_why():
    with moving() as (robot, _, user, _, future):
        SCRIPT.values = (float("nan"),) * 7
        robot.look()
        result = user.aborted(future, Result.FAULT)
        assert result.detail.startswith("invalid_action: ") and result.steps == 1
        robot.faults("invalid_action")


def test_another_instruction_ends_the_goal():
    with moving() as (robot, _, user, _, future):
        robot.say(OTHER)
        user.aborted(future, Result.SUPERSEDED)
        until(lambda: robot.status.instruction == OTHER, "not followed", lambda: robot.status)
        assert robot.act().step == 0


def test_another_goal_ends_the_goal():
    with moving() as (robot, _, user, _, first):
        _, second = user.send(step_limit=1)
        user.aborted(first, Result.SUPERSEDED)
        until(lambda: robot.status.instruction == WORDS, "not followed", lambda: robot.status)
        assert robot.act().step == 0, "the same instruction again is a new episode"
        user.ended(second, GoalStatus.STATUS_SUCCEEDED, Result.STEP_LIMIT)


def test_the_same_instruction_as_a_topic_changes_nothing():
    with moving(step_limit=2) as (robot, _, user, _, future):
        robot.say(WORDS)
        assert robot.act().step == 1
        user.ended(future, GoalStatus.STATUS_SUCCEEDED, Result.STEP_LIMIT)


@pytest.mark.parametrize("name", ["reset", "enable"])
def test_the_operator_ends_the_goal(name):
    with moving() as (robot, _, user, _, future):
        robot.call(getattr(robot, name))
        user.aborted(future, {"reset": Result.RESET, "enable": Result.DISABLED}[name])
        rests(robot)


def test_deactivation_ends_the_goal_and_nothing_resumes():
    with moving() as (robot, node, user, _, future):
        user.rig.do(node.trigger_deactivate)
        user.aborted(future, Result.STOPPED)
        robot.ends_in_zero()
        result = user.aborted(user.send()[1], Result.REJECTED)
        assert "activate" in result.detail
        user.rig.do(node.trigger_activate)
        until(lambda: "instruction" in robot.status.detail, "resumes", lambda: robot.status)


@pytest.mark.parametrize(
    ("goal", "detail"),
    [
        ({"instruction": "  "}, "instruction is empty"),
        ({"time_limit": -1.0}, "time_limit=-1.0"),
        ({"time_limit": float("nan")}, "time_limit=nan"),
        ({"instruction": "123"}, "empty instruction"),
    ],
)
def test_goals_that_cannot_begin(goal, detail):
    with working() as (robot, _, user):
        result = user.aborted(user.send(**goal)[1], Result.REJECTED)
        assert detail in result.detail and result.steps == 0
        robot.look()
        assert not robot.twists


def test_a_goal_needs_the_operator_but_not_in_a_dry_run():
    with driven() as (robot, node, rig):
        user = User(robot, rig)
        result = user.aborted(user.send()[1], Result.REJECTED)
        assert "~/enable" in result.detail
        assert robot.set(node, command__dry_run=True).successful
        _, future = user.send(step_limit=1)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        assert robot.act().dry_run
        user.ended(future, GoalStatus.STATUS_SUCCEEDED, Result.STEP_LIMIT)
        rig.do(user.client.destroy)


def test_the_words_of_the_message_are_those_of_driving():
    for reason in Reason:
        assert getattr(Result, reason.name) == reason.value
