# SPDX-License-Identifier: Apache-2.0
"""sim.launch.xml as a user starts it: its own processes, and an image becomes a command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from vla_infoentropy_ros.msg import VlaAction

from test.nodes.harness import until
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.demo.launching import Launch, launch_command
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.middleware import local_environment
from vla_infoentropy_ros.nodes.qos import QUEUE

FRAMES = 5
START_S = 180.0  # a limit for broken code, on a machine that does much else


class Listener:
    """Hears the simulated robot's topics, and sends nothing."""

    def __init__(self, context: Any) -> None:
        self.stamps_ns: set[int] = set()
        self.actions: list[VlaAction] = []
        self.twists: list[TwistStamped] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.node = rclpy.create_node("listener", context=context, namespace="sim")
        subscribe = self.node.create_subscription
        subscribe(Image, "image", self._image, QUEUE)
        subscribe(VlaAction, "action", self.actions.append, QUEUE)
        subscribe(TwistStamped, "twist_command", self.twists.append, QUEUE)
        subscribe(DiagnosticArray, "/diagnostics", self._diagnostics, QUEUE)

    def _image(self, message: Image) -> None:
        self.stamps_ns.add(to_ns(message.header.stamp))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {each.name: each for each in message.status}


@pytest.fixture
def listener() -> Iterator[tuple[Listener, dict[str, str]]]:
    """And the environment of whom it can hear."""
    with DomainClaim() as claim:
        context = rclpy.Context()
        rclpy.init(args=[], context=context, domain_id=claim.domain)
        made, executor = Listener(context), SingleThreadedExecutor(context=context)
        executor.add_node(made.node)
        ending = threading.Event()

        def spin() -> None:
            while not ending.is_set():
                executor.spin_once(timeout_sec=0.05)

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        yield made, {**local_environment(), "ROS_DOMAIN_ID": str(claim.domain)}
        ending.set()
        thread.join()
        executor.shutdown()
        made.node.destroy_node()
        context.try_shutdown()


def test_an_image_becomes_a_command(
    listener: tuple[Listener, dict[str, str]], tmp_path: Path
) -> None:
    heard, environment = listener
    # One takes two seconds, in which a listener need not have found every topic.
    command = launch_command({"selector": "attention_drift", "episodes": "200"})
    with Launch(command, tmp_path / "log", environment) as launch:

        def answered() -> bool:
            launch.check()
            return len(heard.actions) >= FRAMES and any(
                from_twist(each.twist).any() for each in heard.twists
            )

        told = lambda: f"{len(heard.stamps_ns)} images, {launch.log.read_text()}"  # noqa: E731
        until(answered, "no command", told, START_S)
        until(lambda: "sim/policy_node: camera" in heard.diagnostics, "no diagnostics")
        assert launch.processes(), "the nodes are processes of their own"
    decided = {to_ns(action.observation_stamp) for action in heard.actions}
    assert len(decided & heard.stamps_ns) >= FRAMES - 2, "the first may come before we listen"
    assert not heard.actions[-1].dry_run
    camera = heard.diagnostics["sim/policy_node: camera"]
    assert {each.key: each.value for each in camera.values}["image_lost"] == "0", camera.message
    assert not launch.processes(), "something was left behind"
