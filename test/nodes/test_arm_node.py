# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm before the policy node's process: what ends in a standing arm.

In wall time, and the arm's controller runs on: it stands by what it hears, or hears no more.
"""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger
from vla_infoentropy_ros.msg import InferenceStatus

from test.nodes.harness import Rig, parameters, until
from test.nodes.test_processes import STARTING_S, process, runs
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.nodes.arm_node import ArmNode
from vla_infoentropy_ros.nodes.publishers import NAMELESS
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST

pytestmark = pytest.mark.usefixtures("ros")

PANDA = ARMS["panda"]
ARM = {
    "arm": "panda",
    "lockstep": False,
    "max_steps": 10_000,
    "image_size": 32,
    "ready_timeout_s": STARTING_S,
}
POLICY = {
    "command__base_frame": PANDA.base,
    "command__tool_frame": PANDA.tip,
    "command__servo": "/arm_node",
    "command__pose_source": "tf",
    "command__limit_workspace": True,
    "command__max_linear_speed": 0.02,
    "command__max_angular_speed": 0.02,
    "command__camera_timeout_s": 1.0,
    "image_reliability": "best_effort",
}


class Scene:
    """The arm's node in a thread of its own, the policy's process, and an operator."""

    def __init__(self, child) -> None:
        self.child = child
        self.ticks = 0
        self.camera_on = True
        remap = ["--ros-args", "-r", "~/delta_twist_cmds:=/twist_command"]
        self.node = ArmNode(parameter_overrides=parameters(ARM), cli_args=remap)
        self._count(self.node)
        self.operator = Node("operator")
        self.status = InferenceStatus()
        self.operator.create_subscription(
            InferenceStatus, "policy_node/status", self._on_status, LATCHED
        )
        self.clear_fault = self.operator.create_client(Trigger, "policy_node/clear_fault")
        self.start = self.operator.create_client(Trigger, "arm_node/start_episode")
        self._rig = Rig(self.operator)
        self._executor, self._ending = SingleThreadedExecutor(), threading.Event()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(
            target=self.node.loop, args=(self._executor, self._ending), daemon=True
        )
        self._thread.start()

    def _count(self, node: ArmNode) -> None:
        advance, show = node.arm.advance, node.link.show

        def counted(*arguments) -> None:
            self.ticks += 1
            advance(*arguments)

        node.arm.advance = counted
        node.link.show = lambda *picture: show(*picture) if self.camera_on else None

    def _on_status(self, message: InferenceStatus) -> None:
        self.status = message

    def moves(self) -> None:
        begun = self.node.arm.positions

        def moved() -> bool:
            return runs(self.child) and bool(
                np.abs(self.node.arm.positions - begun).max() > 1e-3 and self.commanded
            )

        until(moved, "the arm does not move", lambda: self.status, patience_s=STARTING_S)

    @property
    def commanded(self) -> bool:
        twists = self.node.link.twists
        return bool(twists) and bool(twists[-1].any())

    def stands(self) -> None:
        """From 0.3 s after now on."""
        time.sleep(0.3)
        there, ticks = self.node.arm.positions, self.ticks
        until(lambda: self.ticks > ticks + 20, "the arm's controller does not run")
        np.testing.assert_array_equal(self.node.arm.positions, there)

    def begins(self, *services) -> None:
        """The operator calls these, then for another episode, in which the arm moves."""
        for service in (*services, self.start):
            until(service.service_is_ready, f"no service {service.srv_name}")
            answer = service.call_async(Trigger.Request())
            until(answer.done, f"no answer from {service.srv_name}")
            assert answer.result().success, answer.result().message
        self.moves()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(30)
        self._executor.shutdown()
        self._rig.close()
        self.node.destroy_node()
        self.operator.destroy_node()


@pytest.fixture(scope="module")
def scene(ros):
    pytest.importorskip("moveit_msgs.srv", reason="moveit_msgs is not there")
    with process(**POLICY) as child:
        made = Scene(child)
        try:
            made.begins()
            yield made
        finally:
            made.close()


def test_the_tip_moves_as_the_policy_says(scene) -> None:
    scene.moves()
    before, _ = scene.node.arm.tip
    scene.moves()
    moved = scene.node.arm.tip[0] - before
    assert moved[0] > 0.0 > moved[2], "forwards and down, as the script says"


def test_a_camera_that_stops_ends_in_a_standing_arm(scene) -> None:
    scene.moves()
    scene.camera_on = False
    until(lambda: scene.status.fault, "no fault", lambda: scene.status)
    assert scene.status.fault_code == "camera_silent"
    scene.stands()
    scene.camera_on = True
    scene.begins(scene.clear_fault)


def test_a_second_commander_ends_in_a_standing_arm(scene) -> None:
    scene.moves()
    rival = Node("rival")
    try:
        rival.create_publisher(TwistStamped, "twist_command", NEWEST)
        until(lambda: scene.status.fault, "no fault", lambda: scene.status)
        assert scene.status.fault_code == "two_commanders"
        reason = scene.status.fault_reason
        others = (f"{name} publish on /twist_command: " for name in ("/rival", NAMELESS))
        assert reason.startswith(tuple(f"/policy_node and {each}" for each in others)), reason
        scene.stands()
    finally:
        rival.destroy_node()
    until(lambda: scene.node.count_publishers("/twist_command") == 1, "the rival is still seen")
    scene.begins(scene.clear_fault)


def test_a_killed_node_ends_in_a_standing_arm(scene) -> None:
    """The last: nobody sends zero for a process that is dead."""
    scene.moves()
    scene.child.send_signal(signal.SIGKILL)
    scene.child.wait(30)
    assert scene.commanded, "the last word was a motion"
    scene.stands()
