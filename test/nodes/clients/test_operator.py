# SPDX-License-Identifier: Apache-2.0
"""The operator's command on a real graph."""

from __future__ import annotations

import re
import threading
import time

import pytest
import rclpy

from test.nodes.harness import FAST, WORDS, driven, parameters, until
from vla_infoentropy_ros import operate
from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.driving.goal import Goals, Reason
from vla_infoentropy_ros.nodes.clients import operator
from vla_infoentropy_ros.nodes.policy_node import PolicyNode

pytestmark = pytest.mark.usefixtures("ros")


@pytest.fixture
def run(capsys, monkeypatch):
    """The command with these words: exit code, and what it printed."""
    domain = rclpy.utilities.get_default_context().get_domain_id()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))

    def operate_(*words, wait="20"):
        code = operate.main([*words, "--wait", wait])
        out, err = capsys.readouterr()
        return code, (err if code else out).strip()

    return operate_


def silent(robot, rig):
    """The robot that gives no instruction: two publishers on one input are a fault."""
    rig.do(lambda: robot.destroy_publisher(robot.mouth))


def test_enable_moves_and_disable_stops(run):
    with driven() as (robot, _, _):
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        assert run("enable") == (0, "enabled: the robot will move")
        robot.act()
        until(lambda: robot.moving, "no motion", lambda: robot.status)
        assert run("disable") == (0, "disabled: the robot is not commanded")
        robot.ends_in_zero()


def test_a_reset_stops_and_begins_an_episode(run):
    with driven() as (robot, _, _):
        robot.drive()
        assert robot.act().step == 1
        assert run("reset") == (0, "a new episode begins with the next image")
        robot.ends_in_zero()
        assert robot.act().step == 0


def test_a_fault_is_told_with_what_helps_and_cleared(run):
    with driven() as (robot, node, rig):
        fault = faults.Fault(faults.GRIPPER, "no action server of the name hand")
        rig.do(lambda: node.driver.commander.stop(fault))
        until(lambda: robot.status.fault, "no fault")
        assert run("enable") == (
            1, "refused: fault gripper is latched; call ~/clear_fault first")
        code, told = run("status")
        assert code == 1 and "state       FAULT" in told.splitlines()
        assert "fault       gripper: no action server of the name hand" in told.splitlines()
        assert faults.FAULT_CODES["gripper"] in told and "docs/faults.md, gripper" in told
        code, told = run("clear_fault")
        assert code == 0 and told.startswith("fault gripper cleared; call ~/enable")
        assert run("enable")[0] == 0
        until(lambda: robot.status.enabled, "not enabled")


def test_an_instruction_is_given_and_heard(run):
    with driven() as (robot, _, rig):
        silent(robot, rig)
        assert run("instruct", "open the box") == (
            0, "in force: 'open the box'; waits for an image")
        assert run("instruct", "Open  the box.")[0] == 0, "the same in another spelling"
        told = "instruction rejected: empty instruction"
        assert run("instruct", "123") == (1, told)
        assert run("instruct", "123") == (1, told), "the same again"
        code, told = run("instruct", "close it")
        assert code == 0 and told.startswith("in force: 'close it'")
        until(lambda: robot.status.instruction == "close it", "not heard", lambda: robot.status)
        code, told = run("status")
        assert code == 0 and "instruction close it" in told.splitlines()
        assert "interlocks  not enabled, dry run off" in told.splitlines()
        assert "runs        attention_drift, schedule linear, decode window; tiny" in told


def test_a_second_source_of_instructions_is_not_begun(run):
    with driven() as (robot, _, _):
        robot.drive()
        code, told = run("instruct", "open the box")
        assert code == 1 and "publishes on /instruction, and two sources stop a robot" in told
        robot.act()
        assert robot.moving and not robot.status.fault and robot.status.instruction == WORDS
        assert run("disable")[0] == 0
        assert run("instruct", "open the box")[0] == 0
        assert run("enable")[0] == 0
        until(lambda: not robot.status.fault, "still a fault", lambda: robot.status)


def test_a_node_that_does_not_run_is_not_instructed(run):
    with driven() as (robot, node, rig):
        silent(robot, rig)
        rig.do(node.trigger_deactivate)
        until(lambda: robot.status.detail == "not running: activate the node", "still active")
        assert run("instruct", "open the box") == (
            1, "not given: not running: activate the node")
        assert run("enable") == (
            1, "refused: the node is not active; activate it, then enable")


def test_where_nobody_is_it_says_so_soon(run):
    began_s = time.monotonic()
    code, told = run("enable", wait="1")
    assert code == 1 and time.monotonic() - began_s < 4.0
    domain = rclpy.utilities.get_default_context().get_domain_id()
    assert told.startswith(f"error: no /policy_node within 1 s on domain {domain}, "
                           "ROS_AUTOMATIC_DISCOVERY_RANGE=")
    assert "is the node running" in told and "other policy nodes" not in told
    assert len(told.splitlines()) == 1
    assert run("status", wait="1") == (1, told)


def test_a_node_that_still_loads_is_told_from_one_that_is_not_there(run):
    node = PolicyNode(parameter_overrides=parameters(FAST))  # it has told no status yet
    try:
        code, told = run("status", wait="8")
        assert code == 1 and "/policy_node is there, but says nothing" in told
        assert run("enable") == (
            1, "refused: the node is not active; activate it, then enable")
    finally:
        node.destroy_node()


def test_of_two_robots_one_is_meant(run):
    with driven(namespace="left") as (left, _, _), driven(namespace="right") as (right, _, _):
        code, told = run("enable", wait="8")
        assert code == 1 and told.endswith(
            "; other policy nodes there: /left/policy_node, /right/policy_node")
        assert told.index("may still be starting") < told.index("/left/policy_node")
        assert run("enable", "--namespace", "/right")[0] == 0
        until(lambda: right.status.enabled, "not enabled")
        assert not left.status.enabled
        assert run("enable", "--namespace", "left", "--node", "policy_node")[0] == 0
        until(lambda: left.status.enabled, "not enabled")


def test_an_instruction_with_limits_is_carried_out_and_told_step_by_step(run):
    with driven(command__dry_run=True) as (robot, _, _), robot.streaming(robot.look):
        code, told = run("instruct", "open the box", "--step-limit", "3", "--time-limit", "60")
        *steps, end = told.splitlines()
        assert code == 0 and [line.partition(":")[0] for line in steps] == [
            "step 1", "step 2", "step 3"]
        assert re.fullmatch(r"ended by step_limit after 3 steps in [\d.]+ s; the robot stands", end)
        until(lambda: not robot.status.instruction, "still instructed", lambda: robot.status)
        code, told = run("instruct", "123", "--time-limit", "60")
        assert code == 1 and told.startswith("ended by rejected after 0 steps in ")
        assert told.endswith(" s; the robot stands; empty instruction")


def test_a_time_in_which_nothing_could_be_done_is_not_as_asked(run):
    with driven(command__dry_run=True):
        code, told = run("instruct", "open the box", "--time-limit", "1.5")
        assert code == 1 and told.startswith("ended by time_limit after 0 steps in ")
        assert told.endswith("; waits for an image")


def test_an_interrupt_ends_what_is_carried_out(run, monkeypatch):
    interrupted = []

    def interrupt(line):
        if not interrupted:
            interrupted.append(line)
            raise KeyboardInterrupt

    monkeypatch.setattr(operator, "_step_told", interrupt)
    with driven(command__dry_run=True) as (robot, _, _), robot.streaming(robot.look):
        code, told = run("instruct", "open the box", "--time-limit", "600")
        assert code == 1 and "ended by canceled after " in told and "the robot stands" in told
        until(lambda: not robot.status.instruction, "still instructed", lambda: robot.status)


def test_a_node_that_falls_silent_is_not_left_to_carry_on(run, monkeypatch):
    steps, hear = [], operator.Operator._on_status

    def deaf_after_a_step(self, message):
        if steps:
            self._patience_s = 5.0  # discovery may take longer than silence is borne here
        else:
            hear(self, message)

    monkeypatch.setattr(operator, "_step_told", lambda feedback: steps.append(feedback) or "")
    monkeypatch.setattr(operator.Operator, "_on_status", deaf_after_a_step)
    with driven(command__dry_run=True) as (robot, _, _), robot.streaming(robot.look):
        code, told = run("instruct", "open the box", "--time-limit", "600")
        assert code == 1 and "does not answer within 5 s" in told
        assert told.endswith("The instruction was ended")
        until(lambda: not robot.status.instruction, "still instructed", lambda: robot.status)


def test_a_goal_that_is_taken_up_when_nobody_waits_any_more_is_ended(run, monkeypatch):
    busy, endings, asked = threading.Event(), [], []
    send, tell = operator.ActionClient.send_goal_async, Goals._tell
    namesakes = operator.Operator.namesakes

    def sent_while_busy(self, *goal):
        rig._executor.create_task(lambda: busy.wait(60.0))
        asked[0]._patience_s = 5.0  # discovery, which has been, may take longer
        return send(self, *goal)

    def patient_once(self, sent):
        busy.set()  # the node hears of both, goal and end, at once
        return result(self, sent)

    result = operator.Operator._result
    monkeypatch.setattr(operator.Operator, "namesakes",
                        lambda self: asked.append(self) or namesakes(self))
    monkeypatch.setattr(operator.ActionClient, "send_goal_async", sent_while_busy)
    monkeypatch.setattr(operator.Operator, "_result", patient_once)
    monkeypatch.setattr(Goals, "_tell", lambda self, pursuit, reason, detail="": (
        endings.append((reason, pursuit.steps)), tell(self, pursuit, reason, detail)))
    with driven(command__dry_run=True) as (_, _, rig):  # no frame comes between goal and end
        code, told = run("instruct", "open the box", "--time-limit", "600")
        assert code == 1 and "does not answer within 5 s" in told
        assert told.endswith("The instruction was ended")
        assert endings == [(Reason.CANCELED, 0)]


def test_of_two_nodes_of_one_name_none_is_enabled(run):
    with driven() as (robot, _, rig):
        second = PolicyNode(parameter_overrides=parameters(FAST))
        rig.add(second)
        try:
            told = "2 nodes are called /policy_node, and each would obey"
            code, status = run("status")
            assert code == 1 and told in status.splitlines()[-1]
            for words in (["enable"], ["clear_fault"], ["instruct", "open the box"],
                          ["instruct", "open the box", "--step-limit", "1"]):
                code, answer = run(*words)
                assert code == 1 and told in answer
            assert run("disable")[0] == 0, "a stop is for all of them"
            assert not robot.status.enabled and not robot.status.instruction
        finally:
            rig.remove(second)
            second.destroy_node()
