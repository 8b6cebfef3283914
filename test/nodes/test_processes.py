# SPDX-License-Identifier: Apache-2.0
"""The policy node as a process of its own: how it ends, and what its end leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import SetBool
from vla_infoentropy_ros.action import ExecuteInstruction

from test.nodes.harness import FAST, HELD, WORDS, Rig, Robot, parameters, until
from test.nodes.policies import LOAD
from test.test_interrupting import with_hangups
from test.trees import child_path
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.sim_node import SimNode

STARTING_S = 400.0  # importing torch takes minutes on a machine that is busy with training
STOPPED_S = 0.1  # as for every other stop, whatever else the machine does
pytestmark = pytest.mark.usefixtures("ros")


@contextmanager
def process(**overrides):
    """A policy node in a process of its own, in the domain of this test."""
    values = FAST | {name.replace("__", "."): value for name, value in overrides.items()}
    arguments = []
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value) or "''"
        arguments += ["-p", f"{name}:={text}"]
    domain = str(rclpy.utilities.get_default_context().get_domain_id())
    child = subprocess.Popen(
        [sys.executable, "-m", "vla_infoentropy_ros.start_node", "policy_node", "--ros-args",
         *arguments],
        env=os.environ
        | {"PYTHONPATH": child_path(), "ROS_DOMAIN_ID": domain, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=with_hangups,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait(30)
        child.stderr.close()


def runs(child):
    assert child.poll() is None, child.stderr.read()
    return True


@contextmanager
def robot_of(child):
    robot = Robot()
    rig = Rig(robot)
    try:
        until(
            lambda: (
                runs(child)
                and robot.statuses
                and robot.camera.get_subscription_count()
                and robot.count_publishers("twist_command")
            ),
            "the node does not start",
            patience_s=STARTING_S,
        )
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        yield robot
    finally:
        rig.close()
        robot.destroy_node()


def graph_of(robot):
    """What a robot knows of the nodes beside it: who it is met by, and on which topics."""
    return {
        "nodes": robot.get_node_names(),
        "hears words": robot.mouth.get_subscription_count(),
        "tells statuses": robot.count_publishers("policy_node/status"),
    }


def begin_to_move(robot):
    """It moves, and no step is under way."""
    until(lambda: robot.look() and robot.moving, "does not move", lambda: robot.status)
    last_ns = robot.look()
    until(
        lambda: last_ns in (to_ns(action.observation_stamp) for action in robot.actions),
        "the last step does not end",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_in_zero_command_and_exit_code_0(number):
    with process(**HELD) as child, robot_of(child) as robot:
        begin_to_move(robot)
        child.send_signal(number)
        signalled_ns = time.time_ns()  # the clock that stamps the commands
        robot.ends_in_zero()
        assert child.wait(30) == 0
        late = [twist for stamp_ns, twist in robot.commands if stamp_ns > signalled_ns]
        moving_s = [(at - signalled_ns) * 1e-9 for at, twist in robot.commands if any(twist)]
        assert moving_s[-1] < STOPPED_S, "the robot moved on after the signal"
        assert not any(late[-1]), "zero was not the last word"
        assert "Traceback" not in child.stderr.read()


def test_a_goal_hears_that_its_node_was_stopped():
    with process(**HELD) as child, robot_of(child) as robot:
        client = ActionClient(robot, ExecuteInstruction, "policy_node/execute_instruction")
        until(client.server_is_ready, "no server")
        sent = client.send_goal_async(ExecuteInstruction.Goal(instruction=WORDS))
        until(sent.done, "no answer")
        ended = sent.result().get_result_async()
        begin_to_move(robot)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        until(ended.done, "the goal's end is not told")
        assert ended.result().result.reason == ExecuteInstruction.Result.STOPPED


def test_a_killed_node_says_nothing_and_the_next_one_waits_for_the_operator():
    with process(**HELD) as child, robot_of(child) as robot:
        begin_to_move(robot)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        assert robot.moving, "who sends zero for a process that is dead?"
        statuses, actions = len(robot.statuses), len(robot.actions)
        with process(**HELD) as heir:
            until(
                lambda: (
                    runs(heir) and robot.statuses[statuses:] and robot.status.instruction == WORDS
                ),
                "the next node does not start, or is not met",
                lambda: (len(robot.statuses) - statuses, robot.status, graph_of(robot)),
                STARTING_S,
            )
            robot.twists.clear()
            until(lambda: robot.look() and len(robot.actions) > actions, "no action")
            until(lambda: "~/enable" in robot.status.detail, "not told", lambda: robot.status)
            assert not from_twist(robot.actions[-1].command).any() and not robot.twists


def test_a_killed_node_leaves_a_simulator_that_stops_by_itself():
    sim = SimNode(
        parameter_overrides=parameters(
            {
                "image_size": 32,
                "ready_timeout_s": STARTING_S,
                "lockstep": False,
                "episodes": 1,
                "max_steps": 10_000,
            }
        )
    )
    moved, results = [], []
    sim.link.publish_result = results.append
    drive = sim.env.step_velocity
    sim.env.step_velocity = lambda twist, *rest: (
        moved.append(np.array(twist)),
        drive(twist, *rest),
    )
    executor, ending = SingleThreadedExecutor(), threading.Event()
    executor.add_node(sim)
    thread = threading.Thread(target=sim.loop, args=(executor, ending), daemon=True)
    thread.start()
    try:
        with process(command__hold_periods=10.0, command__max_observation_age_s=60.0) as child:
            until(
                lambda: runs(child) and any(twist.any() for twist in moved),
                "the hand does not move",
                patience_s=STARTING_S,
            )
            child.send_signal(signal.SIGKILL)
            child.wait(30)
            timeout_s = sim.settings.command_timeout_s
            until(lambda: time.monotonic() - sim.link.twist_s > timeout_s, "still commanded")
            count = len(moved) + 1  # one may be under way
            until(lambda: len(moved) > count + 5, "the simulator does not go on")
            assert not any(twist.any() for twist in moved[count:]), "the command did not expire"
            until(lambda: results, "the episode goes on without a policy")
            assert (results[0].reason, results[0].detail) == (
                "policy_fault",
                "the policy node has gone",
            )
            assert not any(twist.any() for twist in moved[count:]), "motion after the end"
    finally:
        ending.set()
        thread.join(30)
        executor.shutdown()
        sim.destroy_node()


@pytest.mark.parametrize(
    ("override", "message"),
    [({"selector": "best"}, "selector='best'"),
     ({"model": f"{LOAD}:missing"}, "no such checkpoint")],
)
def test_a_mistake_ends_the_process_with_a_sentence(override, message):
    with process(**override) as child:
        _, text = child.communicate(timeout=STARTING_S)
        assert child.returncode == 1
        assert message in text and "Traceback" not in text
