# SPDX-License-Identifier: Apache-2.0
"""Stopping shares no thread with what may keep the node busy; a signal ends a configuration."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from std_srvs.srv import SetBool

from test.nodes.harness import HELD, PATIENCE_S, driven, until
from test.trees import child_path

pytestmark = pytest.mark.usefixtures("ros")


class Busy:
    """The node's executor does not come back from a callback, as one that parses."""

    def __init__(self, node):
        self.begun, self.ending = threading.Event(), threading.Event()
        node.executor.create_task(self._work)
        node.executor.wake()
        until(self.begun.is_set, "the executor does not begin")

    def _work(self):
        self.begun.set()
        self.ending.wait(PATIENCE_S)


def test_the_operator_stops_a_node_that_is_busy():
    with driven(**HELD) as (robot, node, rig):
        robot.drive()
        rig.remove(robot)
        from test.nodes.harness import Rig

        own = Rig(robot)  # the robot must hear while the node does not
        busy = Busy(node)
        try:
            ticks = node.tape.ticks
            until(lambda: node.tape.ticks > ticks + 3, "the command timer stands still")
            asked_s = time.monotonic()
            answer = robot.call(robot.enable, SetBool.Request(data=False))
            assert answer.success and time.monotonic() - asked_s < 5.0
            until(lambda: robot.twists and not robot.moving, "no zero")
        finally:
            busy.ending.set()
            own.close()


def test_the_watchdog_stops_a_node_that_is_busy():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__camera_timeout_s=0.3).successful
        busy = Busy(node)
        try:
            until(lambda: node.driver.commander.interlock.fault, "no fault")
            assert node.driver.commander.interlock.fault.code == "camera_silent"
            sent = [entry for entry in node.tape.entries if entry.kind == "sent"]
            assert not sent[-1].motion
        finally:
            busy.ending.set()


def test_an_error_in_the_command_timer_is_a_fault_and_serving_goes_on():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        tick = node.driver.tick

        def fail():
            node.driver.tick = tick
            raise RuntimeError("in the tick")

        node.driver.tick = fail
        until(lambda: robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "worker_died"
        assert robot.call(robot.clear_fault).success


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_loads_a_policy_answers_a_signal(number, tmp_path):
    factory = tmp_path / "slow_factory.py"
    factory.write_text(
        "import time\n\ndef load(text, options):\n"
        "    print('LOADING', flush=True)\n    time.sleep(600)\n"
    )
    node = subprocess.Popen(
        [sys.executable, "-m", "vla_infoentropy_ros.start_node", "policy_node", "--ros-args",
         "-p", "model:=slow_factory:load"],
        env=os.environ | {"PYTHONPATH": child_path(tmp_path)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert node.stdout.readline().strip() == "LOADING"
        node.send_signal(number)
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.stdout.close()
        node.wait()
