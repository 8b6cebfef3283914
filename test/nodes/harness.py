# SPDX-License-Identifier: Apache-2.0
"""A robot for the policy node: camera, command recorder and operator, over real middleware."""

from __future__ import annotations

import os
import random
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import SetBool, Trigger
from vla_infoentropy_ros.msg import InferenceStatus, TokenSelection, VlaAction

from test.nodes import policies
from vla_infoentropy_ros.nodes.messages import from_twist, to_time
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

PATIENCE_S = 60.0  # a limit for broken code, never a measurement
WORDS = "put it there"

FAST = {
    "policy_factory": "test.nodes.policies:load",
    "self_test": "",  # a scripted policy does not pass: see test_policy_node
    "image_reliability": "reliable",
    "command.dry_run": False,
    "command.deadline_s": 20.0,
    "command.camera_timeout_s": 20.0,
    "command.max_observation_age_s": 20.0,
    "command.pose_timeout_s": 20.0,
}


def image(stamp_ns: int, shape: tuple[int, int, int] = (16, 16, 3), seed: int = 0) -> Image:
    """An rgb8 picture of noise."""
    height, width, channels = shape
    data = np.random.default_rng(seed).integers(0, 256, height * width * channels, dtype=np.uint8)
    return Image(
        header=Header(stamp=to_time(stamp_ns), frame_id="camera"),
        height=height,
        width=width,
        encoding="rgb8",
        step=channels * width,
        data=array("B", data.tobytes()),
    )


class Robot(Node):
    """Publishes images and instructions; records what the policy node sends, in order."""

    def __init__(self, name: str = "robot", policy: str = "policy_node", **options: Any) -> None:
        super().__init__(name, **options)
        self.twists: list[np.ndarray] = []
        self.openings: list[float] = []
        self.actions: list[VlaAction] = []
        self.statuses: list[InferenceStatus] = []
        self.selections: list[TokenSelection] = []
        self.camera = self.create_publisher(Image, "image", NEWEST)
        self.mouth = self.create_publisher(String, "instruction", LATCHED)
        subscribe = self.create_subscription
        subscribe(
            TwistStamped, "twist_command", lambda m: self.twists.append(from_twist(m.twist)), QUEUE
        )
        subscribe(Float64, "gripper_command", lambda m: self.openings.append(m.data), QUEUE)
        subscribe(VlaAction, "action", self.actions.append, QUEUE)
        subscribe(InferenceStatus, f"{policy}/status", self.statuses.append, LATCHED)
        subscribe(TokenSelection, f"{policy}/selection", self.selections.append, QUEUE)
        self.reset = self.create_client(Trigger, f"{policy}/reset")
        self.enable = self.create_client(SetBool, f"{policy}/enable")
        self.clear_fault = self.create_client(Trigger, f"{policy}/clear_fault")

    @property
    def status(self) -> InferenceStatus:
        return self.statuses[-1] if self.statuses else InferenceStatus()

    @property
    def moving(self) -> bool:
        return bool(self.twists) and bool(self.twists[-1].any())

    def now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def look(self, stamp_ns: int | None = None, **options: Any) -> int:
        """Publish one picture; returns its stamp."""
        stamp_ns = self.now_ns() if stamp_ns is None else stamp_ns
        self.camera.publish(image(stamp_ns, **options))
        return stamp_ns

    @contextmanager
    def streaming(self, publish: Callable[[], Any]) -> Iterator[None]:
        """Call something 50 times a second, as a camera driver would."""
        ending = threading.Event()

        def stream() -> None:
            while not ending.wait(0.02):
                publish()

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(PATIENCE_S)

    def say(self, text: str) -> None:
        self.mouth.publish(String(data=text))

    def call(self, client: Any, request: Any = None) -> Any:
        until(client.service_is_ready, f"no service {client.srv_name}")
        future = client.call_async(client.srv_type.Request() if request is None else request)
        until(future.done, f"no answer from {client.srv_name}")
        return future.result()

    def set(self, node: PolicyNode, **values: Any) -> Any:
        """Change parameters of the node as `ros2 param set` would; ``__`` stands for a dot."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        request = SetParameters.Request(
            parameters=[each.to_parameter_msg() for each in parameters(named)]
        )
        client = self.create_client(SetParameters, f"{node.get_name()}/set_parameters")
        return self.call(client, request).results[0]

    def act(self) -> VlaAction:
        """One picture, and the action that answers it."""
        count = len(self.actions)
        self.look()
        until(lambda: len(self.actions) > count, "no action", lambda: self.status)
        return self.actions[-1]

    def drive(self) -> None:
        """Instruct, enable and take one step: the robot moves."""
        self.say(WORDS)
        until(lambda: self.status.instruction == WORDS, "not instructed", lambda: self.status)
        answer = self.call(self.enable, SetBool.Request(data=True))
        assert answer.success, answer.message
        self.act()
        until(lambda: any(twist.any() for twist in self.twists), "no motion", lambda: self.status)

    def ends_in_zero(self) -> None:
        """The last command that ever comes is zero."""
        until(lambda: self.twists and not self.moving, "no zero command", lambda: self.status)
        count = len(self.twists)
        time.sleep(0.2)  # several command periods
        assert not any(twist.any() for twist in self.twists[count - 1 :]), "motion after the stop"

    def faults(self, code: str) -> InferenceStatus:
        """The robot stopped for this fault and says so."""
        until(lambda: self.status.fault, f"no fault {code}", lambda: self.status)
        assert self.status.fault_code == code, self.status.fault_reason
        assert self.status.state == InferenceStatus.FAULT
        self.ends_in_zero()
        return self.status


class Rig:
    """A policy node and a robot in one process, spun by one background thread."""

    def __init__(self, *nodes: Any) -> None:
        self._executor = SingleThreadedExecutor()
        for node in nodes:
            self._executor.add_node(node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.02)

    def do(self, action: Callable[[], Any]) -> Any:
        """Run something in the spinning thread, as a callback would."""
        task = self._executor.create_task(action)
        until(task.done, "the executor does not answer")
        return task.result()

    def add(self, node: Any) -> None:
        self._executor.add_node(node)

    def remove(self, node: Any) -> None:
        self._executor.remove_node(node)

    def close(self) -> None:
        self._ending.set()
        self._thread.join(PATIENCE_S)
        self._executor.shutdown()


def until(
    condition: Callable[[], Any],
    problem: str,
    what: Callable[[], Any] = str,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait for a condition; fails with ``problem`` after a time that only broken code needs."""
    give_up_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_s, f"{problem} {what()}"
        time.sleep(0.005)


def parameters(values: dict[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


def _heard(node: PolicyNode) -> bool:
    """The robot has found the node's publishers (a volatile one forgets what it sent before)."""
    telemetry = (node.telemetry._action, node.telemetry._selection)
    output = node.commander.output
    return all(publisher.get_subscription_count() for publisher in telemetry) and (
        output.closed or output.listeners()
    )


@contextmanager
def driven(meet: bool = True, **overrides: Any) -> Iterator[tuple[Robot, PolicyNode, Rig]]:
    """A robot and an active policy node; ``__`` in a name stands for a dot. ``meet``: wait until
    each has found all of the other."""
    policies.SCRIPT.__init__()  # type: ignore[misc]
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    node = PolicyNode(parameter_overrides=parameters(FAST | named))
    robot = Robot()
    node.start()
    rig = Rig(node, robot)
    try:
        until(
            lambda: (
                robot.statuses
                and (robot.camera.get_subscription_count() or not node.inputs.cameras)
                and robot.mouth.get_subscription_count()
                and (_heard(node) or not meet)
            ),
            "the nodes do not meet",
        )
        yield robot, node, rig
    finally:
        rig.close()
        node.stop()
        for each in (node, robot):
            each.destroy_node()


@contextmanager
def context() -> Iterator[None]:
    """rclpy, in a domain of its own."""
    rclpy.init(domain_id=random.Random(os.getpid() + time.monotonic_ns()).randint(1, 100))
    try:
        yield
    finally:
        rclpy.try_shutdown()
