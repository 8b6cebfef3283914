# SPDX-License-Identifier: Apache-2.0
"""The policy node as a process of its own: how it ends, and what its end leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import SetBool

from test.nodes.harness import FAST, WORDS, Rig, Robot, parameters, until
from vla_infoentropy_ros.nodes.sim_node import SimNode

STARTING_S = 400.0  # importing torch takes minutes on a machine that is busy with training
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("ros")


@contextmanager
def process(**overrides):
    """A policy node in a process of its own, in the domain of this test."""
    values = FAST | {name.replace("__", "."): value for name, value in overrides.items()}
    arguments = []
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={text}"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    domain = str(rclpy.utilities.get_default_context().get_domain_id())
    child = subprocess.Popen(
        [sys.executable, "-m", "vla_infoentropy_ros.nodes.policy_node", "--ros-args", *arguments],
        env=os.environ | {"PYTHONPATH": path, "ROS_DOMAIN_ID": domain, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait(30)
        child.stderr.close()


@contextmanager
def robot_of(child):
    robot = Robot()
    rig = Rig(robot)
    try:
        until(
            lambda: (
                robot.statuses
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_in_zero_command_and_exit_code_0(number):
    with process(command__hold_periods=10.0) as child, robot_of(child) as robot:
        until(lambda: robot.look() and robot.moving, "does not move", lambda: robot.status)
        child.send_signal(number)
        robot.ends_in_zero()
        assert child.wait(30) == 0
        assert "Traceback" not in child.stderr.read()


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
    moved = []
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
                lambda: any(twist.any() for twist in moved),
                "the hand does not move",
                patience_s=STARTING_S,
            )
            child.send_signal(signal.SIGKILL)
            child.wait(30)
            time.sleep(sim.settings.command_timeout_s + 0.5)
            count = len(moved)
            until(lambda: len(moved) > count + 5, "the simulator does not go on")
            assert not any(twist.any() for twist in moved[count:]), "the command did not expire"
    finally:
        ending.set()
        thread.join(30)
        executor.shutdown()
        sim.destroy_node()


@pytest.mark.parametrize(
    ("override", "message"),
    [({"selector": "best"}, "selector='best'"), ({"model": "missing"}, "no such checkpoint")],
)
def test_a_mistake_ends_the_process_with_a_sentence(override, message):
    with process(**override) as child:
        _, text = child.communicate(timeout=STARTING_S)
        assert child.returncode == 1
        assert message in text and "Traceback" not in text
