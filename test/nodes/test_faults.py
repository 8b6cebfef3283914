# SPDX-License-Identifier: Apache-2.0
"""Every fault ends in zero command within one command period, and in a clear word about it; motion
begins again when an operator says so, never by itself. Over the real middleware."""

import math
from itertools import count

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

from test.nodes.harness import (
    FAST,
    GATE,
    HELD,
    WORDS,
    Rig,
    Robot,
    begin_a_step,
    driven,
    image,
    logged,
    parameters,
    until,
)
from test.nodes.policies import SCRIPT, STEP
from vla_infoentropy_ros.nodes.messages import to_ns, to_time
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.qos import CAMERA, LATCHED

pytestmark = pytest.mark.usefixtures("ros")


def test_camera_stops():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__camera_timeout_s=0.3).successful
        status = robot.faults("camera_silent")
        assert "no image for" in status.fault_reason and "check the camera" in status.fault_reason
        assert robot.set(node, command__camera_timeout_s=20.0).successful
        robot.moves_only_when_told()


def test_camera_freezes_on_one_stamp():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        frozen = to_ns(robot.actions[-1].observation_stamp)
        with robot.streaming(lambda: robot.look(frozen)):
            until(lambda: robot.status.frames_dropped > 0, "the same stamp was used again")
            assert robot.set(node, command__camera_timeout_s=2.0).successful
            status = robot.faults("camera_frozen")
        assert "stamps repeat" in status.fault_reason
        assert len(robot.actions) == 1
        assert robot.set(node, command__camera_timeout_s=20.0).successful
        robot.moves_only_when_told()


def test_frames_out_of_order_are_dropped_and_feed_no_watchdog():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        stamps = count(to_ns(robot.actions[-1].observation_stamp) - 1_000_000, -1_000_000)
        with robot.streaming(lambda: robot.look(next(stamps))):
            until(lambda: robot.status.frames_dropped > 0, "late images were used")
            assert robot.set(node, command__camera_timeout_s=2.0).successful
            status = robot.faults("camera_frozen")
        assert "run backwards" in status.fault_reason
        assert len(robot.actions) == 1
        assert robot.set(node, command__camera_timeout_s=20.0).successful
        robot.moves_only_when_told()


def test_a_late_frame_among_good_ones_is_no_observation():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        dropped = to_ns(robot.actions[-1].observation_stamp) - 1
        robot.look(dropped)
        until(lambda: node.driver.intake.counters.frames_dropped == 1, "not dropped")
        assert robot.act().step == 1
        assert dropped not in [to_ns(action.observation_stamp) for action in robot.actions]
        assert not robot.status.fault


def test_clock_jumps_back():
    with driven(**HELD, use_sim_time=True) as (robot, node, _):
        clock = robot.create_publisher(Clock, "/clock", 1)
        until(clock.get_subscription_count, "no one takes /clock")

        def show(now_ns):
            clock.publish(Clock(clock=to_time(now_ns)))
            until(lambda: node.get_clock().now().nanoseconds == now_ns, "no time")
            stamps = count(now_ns)
            robot.now_ns = lambda: next(stamps)

        show(100_000_000_000)
        robot.drive()
        show(1_000_000_000)
        status = robot.faults("clock_backwards")
        assert "backwards" in status.fault_reason
        robot.moves_only_when_told()
        assert robot.actions[1].step == 0, "a new episode begins, with the older stamps accepted"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_is_dropped(bad):
    with driven(**HELD) as (robot, _, _):
        robot.drive()
        SCRIPT.values = (0.0, bad, 0.0, 0.0, 0.0, 0.0, 1.0)
        robot.look()
        status = robot.faults("invalid_action")
        assert str(bad).lstrip("-") in status.fault_reason
        assert status.actions_dropped == 1 and len(robot.actions) == 1
        SCRIPT.values = STEP
        robot.moves_only_when_told()
        assert all(np.isfinite(action.values).all() for action in robot.actions)


def test_inference_over_its_deadline():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__deadline_s=0.1).successful
        GATE.clear()
        robot.look()
        status = robot.faults("deadline")
        assert "command.deadline_s=0.1" in status.fault_reason
        assert status.deadline_misses == 1
        GATE.set()
        until(lambda: robot.status.actions_dropped == 1, "the late action was not dropped")
        assert len(robot.actions) == 1
        robot.stops("deadline")
        assert robot.set(node, command__deadline_s=20.0).successful
        robot.moves_only_when_told()


def test_a_tolerated_miss_falls_back_to_zero_without_a_fault():
    with driven(**HELD, command__tolerated_misses=1000) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__deadline_s=0.1).successful
        GATE.clear()
        robot.look()
        until(lambda: robot.status.deadline_misses, "no miss", lambda: robot.status)
        robot.stops("deadline")
        GATE.set()
        until(lambda: robot.status.actions_dropped == 1, "the late action was not dropped")
        robot.stops("deadline")
        assert not robot.status.fault and len(robot.actions) == 1


def test_a_step_that_never_ends_is_a_fault_however_much_is_tolerated():
    with driven(**HELD, command__tolerated_misses=2) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__deadline_s=0.1).successful
        GATE.clear()
        robot.look()
        status = robot.faults("deadline")
        assert "missed 3 time(s) in a row" in status.fault_reason
        GATE.set()
        until(lambda: robot.status.actions_dropped, "the late action was not dropped")
        assert robot.set(node, command__deadline_s=20.0).successful
        robot.moves_only_when_told()


def test_more_misses_in_a_row_than_are_tolerated():
    with driven(**HELD, command__tolerated_misses=1) as (robot, node, _):
        robot.drive()
        # Every step is too late, and ends: what is counted is the row.
        assert robot.set(node, command__deadline_s=0.01).successful
        SCRIPT.delay_s = 0.05
        until(lambda: robot.look() and robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "deadline"
        assert robot.status.deadline_misses >= 2 and len(robot.actions) == 1


def test_the_image_was_too_old():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__max_observation_age_s=0.1).successful
        begin_a_step(robot)
        stamp = robot.now_ns()
        until(lambda: robot.now_ns() > stamp + 200_000_000, "no time goes by")
        GATE.set()
        status = robot.faults("stale_observation")
        assert "command.max_observation_age_s=0.1" in status.fault_reason
        assert robot.set(node, command__max_observation_age_s=20.0).successful
        robot.moves_only_when_told()


def test_the_policy_raises():
    with driven(**HELD) as (robot, _, _):
        robot.drive()
        SCRIPT.error = RuntimeError("out of memory")
        robot.look()
        status = robot.faults("policy_exception")
        assert "RuntimeError: out of memory" in status.fault_reason
        SCRIPT.error = None
        robot.moves_only_when_told()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_worker_is_killed():
    with driven(**HELD) as (robot, node, rig):
        robot.drive()
        SCRIPT.error = GeneratorExit()  # what no code expects of a policy
        robot.look()
        status = robot.faults("worker_died")
        assert "activate" in status.fault_reason
        SCRIPT.error = None
        rig.do(node.trigger_deactivate)
        rig.do(node.trigger_activate)
        until(lambda: robot.status.instruction == WORDS, "the instruction was forgotten")
        robot.moves_only_when_told()


def test_instruction_changes_mid_step():
    with driven(**HELD) as (robot, _, _):
        robot.drive()
        begin_a_step(robot)
        robot.say("something else")
        robot.stops("instruction")
        assert len(robot.actions) == 1, "the step has not ended"
        GATE.set()
        until(lambda: robot.status.instruction == "something else", "not instructed")
        until(lambda: robot.status.actions_dropped == 1, "not dropped")
        robot.stops("instruction")
        assert len(robot.actions) == 1, "an action of the old instruction was issued"
        assert not robot.status.fault
        action = robot.act()
        assert action.instruction == "something else" and action.step == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"command__max_linear_speed": -1.0}, "command.max_linear_speed"),
        ({"command__max_linear_speed": math.nan}, "command.max_linear_speed"),
        ({"command__deadline_s": math.inf}, "command.deadline_s"),
        ({"command__deadline_s": "soon"}, "DOUBLE"),
        ({"selector": "best"}, "attention_drift"),
        ({"selection__k1": 5000}, "selection.k1"),
        ({"selection__k1": 61}, "k2=60"),
        ({"command__workspace_low": [0.0, 0.0]}, "give 3"),
        ({"model": "other"}, "given at the start only"),
    ],
)
def test_a_change_of_parameter_that_is_refused_stops(change, reason):
    """Whoever asked for it wanted another motion than this one; nothing has changed but that."""
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        before = node.driver.settings
        result = robot.set(node, **change)
        assert not result.successful and reason in result.reason
        assert node.driver.settings == before and node.driver.commander.settings == before.command
        name = next(iter(change)).replace("__", ".")
        assert node.get_parameter(name).value != next(iter(change.values()))
        status = robot.faults("invalid_parameter")
        assert reason in status.fault_reason
        robot.moves_only_when_told()


def test_a_misspelt_parameter_stops_as_well():
    """Whoever wants the arm to be slower must not be left with a fast one."""
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        assert not robot.set(node, command__max_linear_sped=0.01).successful
        assert "max_linear_sped" in robot.faults("invalid_parameter").fault_reason
        robot.moves_only_when_told()


def test_a_refused_change_is_no_fault_of_a_robot_that_may_not_move():
    with driven() as (robot, node, _):
        assert not robot.set(node, command__max_linear_speed=-1.0).successful
        assert not node.driver.commander.interlock.fault


def test_two_policy_nodes_on_one_command_topic():
    with driven(**HELD) as (robot, _, rig):
        robot.drive()
        rival = PolicyNode(
            parameter_overrides=parameters(FAST | HELD),
            cli_args=["--ros-args", "-r", "__node:=rival"],
        )
        try:
            rival.start()
            rig.add(rival)
            status = robot.faults("two_commanders")
            assert "twist_command" in status.fault_reason
            robot.call(robot.clear_fault)
            for name in ("policy_node", "rival"):
                enable = robot.create_client(SetBool, f"{name}/enable")
                answer = robot.call(enable, SetBool.Request(data=True))
                assert not answer.success and "twist_command" in answer.message
            actions = len(robot.actions)
            robot.look()
            until(lambda: len(robot.actions) == actions + 2, "not both decide")
            robot.stops("two_commanders")
        finally:
            rig.remove(rival)
            rival.stop()
            rival.destroy_node()
        until(lambda: robot.count_publishers("twist_command") == 1, "the rival stays")
        robot.stops("two_commanders")
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert answer.success, answer.message


def test_a_rival_is_seen_on_a_remapped_command_topic():
    """As behind MoveIt Servo, where the topic has its name."""
    arguments = ["--ros-args", "-r", "twist_command:=/servo/twist"]
    node = PolicyNode(parameter_overrides=parameters(FAST), cli_args=arguments)
    robot = Robot()
    node.start()
    rig = Rig(node, robot)
    try:
        assert node.output.rivals() is None
        robot.create_publisher(TwistStamped, "/servo/twist", 1)
        until(node.output.rivals, "not seen")
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        told = "/policy_node and /robot publish on /servo/twist"
        assert not answer.success and told in answer.message
    finally:
        rig.close()
        node.stop()
        for each in (node, robot):
            each.destroy_node()


def test_any_publisher_on_the_command_topic_is_a_rival():
    with driven(**HELD) as (robot, _, _):
        robot.drive()
        rival = robot.create_publisher(TwistStamped, "twist_command", 1)
        robot.faults("two_commanders")
        robot.destroy_publisher(rival)
        until(lambda: robot.count_publishers("twist_command") == 1, "the rival stays")
        robot.moves_only_when_told()


def test_a_fault_is_told_when_it_latches():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        tell, tape = node.telemetry.status, node.tape

        def told(*arguments):
            message = tell(*arguments)
            tape.add("told", message.fault_code)
            return message

        node.telemetry.status = told
        assert robot.set(node, command__camera_timeout_s=0.3).successful
        robot.faults("camera_silent")
        kinds = [(kind, what) for kind, what in tape.entries if kind in ("tick", "latched", "told")]
        latched = kinds.index(("latched", "camera_silent"))
        assert kinds[latched + 1] == ("told", "camera_silent")


def test_a_camera_of_other_reliability_takes_over():
    with driven(**HELD, command__shared_inputs="image") as (robot, node, _):
        robot.drive()
        other = robot.create_publisher(Image, "image", CAMERA)
        with robot.streaming(lambda: other.publish(image(robot.now_ns()))):
            until(lambda: "image_reliability" in robot.told("camera"), "not told")
            assert robot.set(node, command__camera_timeout_s=0.5).successful
            robot.faults("camera_silent")
        assert len(robot.actions) == 1
        assert robot.set(node, command__camera_timeout_s=20.0).successful
        robot.moves_only_when_told()


def test_a_robot_of_other_quality_gets_nothing_and_the_log_says_so():
    with logged() as reads, driven() as (robot, _, _):
        heard = []
        robot.create_subscription(TwistStamped, "twist_command", heard.append, LATCHED)
        reads("twist_command'", "DURABILITY")
        robot.drive()
        assert not heard


@pytest.mark.parametrize(
    "policy",
    [{"durability": DurabilityPolicy.VOLATILE}, {"reliability": ReliabilityPolicy.BEST_EFFORT}],
)
def test_an_instruction_of_other_quality_moves_nothing_and_the_log_says_so(policy):
    with logged() as reads, driven(command__shared_inputs="instruction") as (robot, _, _):
        quality = {"depth": 1, "durability": DurabilityPolicy.TRANSIENT_LOCAL} | policy
        mouth = robot.create_publisher(String, "instruction", QoSProfile(**quality))
        reads("a publisher of instruction is volatile or best effort")
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        mouth.publish(String(data=WORDS))
        robot.look()
        until(lambda: robot.status.frames_received, "no image", lambda: robot.status)
        assert "--qos-durability transient_local" in robot.status.detail
        assert not robot.twists and not robot.actions
