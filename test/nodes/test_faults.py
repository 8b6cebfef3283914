# SPDX-License-Identifier: Apache-2.0
"""Every fault ends in zero command and a clear word about it, over the real middleware."""

import math
from array import array
from itertools import count

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from vla_infoentropy_ros.msg import InferenceStatus

from test.nodes.harness import WORDS, driven, image, until
from test.nodes.policies import SCRIPT, STEP
from vla_infoentropy_ros.nodes.messages import to_ns, to_time

pytestmark = pytest.mark.usefixtures("ros")


def test_camera_stops():
    with driven() as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__camera_timeout_s=0.3).successful
        status = robot.faults("camera_silent")
        assert "check the camera" in status.fault_reason


def test_camera_freezes_on_one_stamp():
    with driven(command__hold_periods=10.0) as (robot, node, _):
        robot.drive()
        frozen = robot.actions[-1].observation_stamp
        with robot.streaming(lambda: robot.look(to_ns(frozen))):
            until(lambda: robot.status.frames_dropped > 0, "the same stamp was used again")
            assert robot.set(node, command__camera_timeout_s=0.5).successful
            robot.faults("camera_frozen")
        assert len(robot.actions) == 1


def test_frames_out_of_order_are_dropped_and_feed_no_watchdog():
    with driven(command__hold_periods=10.0) as (robot, node, _):
        robot.drive()
        stamps = count(to_ns(robot.actions[-1].observation_stamp) - 1_000_000, -1_000_000)
        with robot.streaming(lambda: robot.look(next(stamps))):
            until(lambda: robot.status.frames_dropped > 0, "late images were used")
            assert robot.set(node, command__camera_timeout_s=0.5).successful
            robot.faults("camera_frozen")
        assert len(robot.actions) == 1


def test_clock_jumps_back():
    with driven(use_sim_time=True) as (robot, node, _):
        clock = robot.create_publisher(Clock, "/clock", 1)
        until(clock.get_subscription_count, "no one takes /clock")
        clock.publish(Clock(clock=to_time(100_000_000_000)))
        until(lambda: node.get_clock().now().nanoseconds == 100_000_000_000, "no time")
        robot.now_ns = lambda: 100_000_000_000
        robot.drive()
        clock.publish(Clock(clock=to_time(1_000_000_000)))
        robot.faults("clock_backwards")
        assert robot.call(robot.clear_fault).success
        robot.now_ns = lambda: 1_000_000_000
        assert robot.act().step == 0, "a new episode begins, with the older stamps accepted"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_is_dropped(bad):
    with driven() as (robot, _, _):
        robot.drive()
        SCRIPT.values = (0.0, bad, 0.0, 0.0, 0.0, 0.0, 1.0)
        robot.look()
        status = robot.faults("invalid_action")
        assert status.actions_dropped == 1
        assert all(np.isfinite(action.values).all() for action in robot.actions)


def test_inference_over_its_deadline():
    with driven(command__hold_periods=10.0) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__deadline_s=0.1).successful
        SCRIPT.delay_s = 1.5
        actions = len(robot.actions)
        robot.look()
        status = robot.faults("deadline")
        assert status.deadline_misses == 1
        SCRIPT.delay_s = 0.0
        until(lambda: robot.status.actions_dropped == 1, "the late action was not dropped")
        assert len(robot.actions) == actions
        assert not robot.moving


def test_a_tolerated_miss_falls_back_to_zero_without_a_fault():
    with driven(command__hold_periods=10.0, command__tolerated_misses=5) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__deadline_s=0.1).successful
        SCRIPT.delay_s = 1.0
        robot.look()
        robot.ends_in_zero()
        until(lambda: robot.status.actions_dropped == 1, "the late action was not dropped")
        assert not robot.status.fault
        assert robot.status.deadline_misses == 1


def test_the_policy_raises():
    with driven() as (robot, _, _):
        robot.drive()
        SCRIPT.error = RuntimeError("out of memory")
        robot.look()
        status = robot.faults("policy_exception")
        assert "out of memory" in status.fault_reason


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_worker_is_killed():
    with driven(command__hold_periods=10.0) as (robot, node, rig):
        robot.drive()
        SCRIPT.error = SystemExit()
        robot.look()
        status = robot.faults("worker_died")
        assert "activate" in status.fault_reason
        SCRIPT.error = None
        rig.do(node.trigger_deactivate)
        rig.do(node.trigger_activate)
        until(lambda: robot.status.instruction == WORDS, "the instruction was forgotten")
        robot.act()
        assert not robot.moving, "a fault outlives a restart of the worker"


def test_instruction_changes_mid_step():
    with driven(command__hold_periods=10.0) as (robot, _, _):
        robot.drive()
        SCRIPT.delay_s = 1.0
        steps, actions = len(SCRIPT.seen), len(robot.actions)
        robot.look()
        until(lambda: len(SCRIPT.seen) > steps, "no step begins")
        robot.say("something else")
        robot.ends_in_zero()
        SCRIPT.delay_s = 0.0
        until(lambda: robot.status.instruction == "something else", "not instructed")
        assert len(robot.actions) == actions, "an action of the old instruction was issued"
        assert robot.status.actions_dropped == 1
        action = robot.act()
        assert action.instruction == "something else" and action.step == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"command__max_linear_speed": -1.0}, "command.max_linear_speed"),
        ({"selector": "best"}, "info_entropy"),
        ({"selection__k1": 5000}, "selection.k1"),
        ({"selection__k1": 61}, "k2=60"),
        ({"command__workspace_low": [0.0, 0.0]}, "give 3"),
        ({"model": "other"}, "clean up first"),
    ],
)
def test_parameter_made_invalid_live(change, reason):
    with driven() as (robot, node, _):
        robot.drive()
        result = robot.set(node, **change)
        assert not result.successful and reason in result.reason
        assert robot.act().step == 1, "the episode was disturbed"
        assert not robot.status.fault


def test_two_nodes_on_one_command_topic():
    with driven() as (robot, _, _):
        robot.drive()
        rival = robot.create_publisher(TwistStamped, "twist_command", 1)
        robot.faults("two_commanders")
        robot.call(robot.clear_fault)
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert not answer.success and "twist_command" in answer.message
        robot.destroy_publisher(rival)


def malformed(rng: np.random.Generator, stamp_ns: int) -> Image:
    """An image that no one may use."""
    message = image(stamp_ns)
    kind = rng.integers(6)
    if kind == 0:
        message.encoding = ["", "rgb16", "bayer_rggb8", "yuv422", "x" * 3000][rng.integers(5)]
    elif kind == 1:
        message.data = array("B", bytes(int(rng.integers(0, 700))))
    elif kind == 2:
        message.step = int(rng.integers(0, 2**32))
    elif kind == 3:
        message.width, message.height = (int(side) for side in rng.integers(0, 2**32, 2))
    elif kind == 4:
        message.header.stamp = to_time([0, stamp_ns + 10**12, 1][rng.integers(3)])
    else:
        message.encoding, message.header.frame_id = "mono16", "f" * int(rng.integers(0, 20_000))
    if len(message.data) == message.step * message.height == 768 and kind != 4:
        message.data = array("B")
    return message


def test_ten_thousand_malformed_images():
    with driven() as (robot, _, _):
        robot.drive()
        rng = np.random.default_rng(7)
        actions, stamp = len(robot.actions), robot.now_ns()
        for _ in range(10_000):
            robot.camera.publish(malformed(rng, stamp))
        until(lambda: robot.status.frames_rejected > 0, "nothing was rejected")
        robot.ends_in_zero()
        assert len(robot.actions) == actions
        assert robot.act().step == actions, "the node did not survive"


def test_a_fault_stays_until_it_is_cleared_and_enabled():
    with driven() as (robot, _, _):
        robot.drive()
        SCRIPT.values = (math.nan,) * 7
        robot.look()
        robot.faults("invalid_action")
        SCRIPT.values = STEP
        robot.twists.clear()
        robot.act()
        assert not robot.call(robot.enable, SetBool.Request(data=True)).success
        assert robot.call(robot.clear_fault).success
        robot.act()
        assert not any(twist.any() for twist in robot.twists), "moved again by itself"
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        robot.act()
        until(lambda: robot.moving, "does not move after clear and enable")
        assert robot.status.state == InferenceStatus.RUNNING
