# SPDX-License-Identifier: Apache-2.0
"""A robot for the policy node: camera, command recorder and operator, over real middleware."""

from __future__ import annotations

import functools
import math
import os
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
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
from test.nodes.tape import Tape, Watched, command_of
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.nodes.messages import from_twist, to_time
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST, QUEUE

ASTRAY_S = 10.0  # longer than any step of a scripted policy on a busy machine
PATIENCE_S = 60.0  # a limit for broken code, never a measurement
WORDS = "put it there"

FAST = {
    "model": policies.LOAD,
    "self_test": "",  # a scripted policy does not pass: see test_policy_node
    "image_reliability": "reliable",
    "command.dry_run": False,
    "command.deadline_s": 20.0,
    "command.camera_timeout_s": 20.0,
    "command.max_observation_age_s": 20.0,
    "command.pose_timeout_s": 20.0,
}

HELD = {"model": "test.nodes.harness:load_held"}
"""A command lasts as long as the test: what ends the motion is the stop, not the expiry."""

GATE = threading.Event()
"""While it is cleared, a step of the held policy does not end."""
GATE.set()


class HeldPolicy(policies.ScriptedPolicy):
    """Its actions are to be carried out slowly."""

    convention = replace(policies.ScriptedPolicy.convention, control_period_s=1000.0)

    def decode_action(self, token_ids: Any) -> Any:
        GATE.wait(PATIENCE_S)
        return super().decode_action(token_ids)


def load_held(kind: str, options: Any) -> HeldPolicy:
    """What ``model`` names."""
    return HeldPolicy(views=2 if kind == "two_views" else 1)


def begin_a_step(robot: Robot) -> None:
    """Of the held policy; it does not end before the gate is opened."""
    GATE.clear()
    steps = len(policies.SCRIPT.seen)
    robot.look()
    until(lambda: len(policies.SCRIPT.seen) > steps, "no step begins")


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
        self.tape = Tape()  # of a node in this process
        self.moving_since = 0  # index of the tape's entries
        self.commands: list[tuple[int, tuple[float, ...]]] = []
        self.twists: list[np.ndarray] = []
        self.openings: list[float] = []
        self.actions: list[VlaAction] = []
        self.statuses: list[InferenceStatus] = []
        self.selections: list[TokenSelection] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.camera = self.create_publisher(Image, "image", NEWEST)
        self.mouth = self.create_publisher(String, "instruction", LATCHED)
        subscribe = self.create_subscription
        subscribe(TwistStamped, "twist_command", self._on_command, QUEUE)
        subscribe(Float64, "gripper_command", lambda m: self.openings.append(m.data), QUEUE)
        subscribe(VlaAction, "action", self.actions.append, QUEUE)
        subscribe(InferenceStatus, f"{policy}/status", self.statuses.append, LATCHED)
        subscribe(TokenSelection, f"{policy}/selection", self.selections.append, QUEUE)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, QUEUE)
        self.reset = self.create_client(Trigger, f"{policy}/reset")
        self.enable = self.create_client(SetBool, f"{policy}/enable")
        self.clear_fault = self.create_client(Trigger, f"{policy}/clear_fault")

    def _on_command(self, message: TwistStamped) -> None:
        self.commands.append(command_of(message))
        self.twists.append(from_twist(message.twist))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {each.name: each for each in message.status}

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
        """One picture, and the action that answers it; another picture where one went astray."""
        count, looked_s = len(self.actions), -math.inf

        def answered() -> bool:
            nonlocal looked_s
            if time.monotonic() - looked_s > ASTRAY_S:
                self.look()
                looked_s = time.monotonic()
            return len(self.actions) > count

        until(answered, "no action", lambda: self.status)
        return self.actions[-1]

    def drive(self) -> None:
        """Instruct, enable and take one step: the robot moves."""
        self.say(WORDS)
        until(lambda: self.status.instruction == WORDS, "not instructed", lambda: self.status)
        answer = self.call(self.enable, SetBool.Request(data=True))
        assert answer.success, answer.message
        self.act()
        until(lambda: any(twist.any() for twist in self.twists), "no motion", lambda: self.status)
        self.moving_since = len(self.tape.entries)

    def ends_in_zero(self) -> None:
        """The last command that ever comes is zero."""
        until(lambda: self.twists and not self.moving, "no zero command", lambda: self.status)
        count = len(self.twists)
        time.sleep(0.2)  # several command periods
        assert not any(twist.any() for twist in self.twists[count - 1 :]), "motion after the stop"

    def stops(self, cause: str) -> None:
        """Within one command period after the cause there is zero, and nothing but zero after it:
        sent by the node, and come here."""
        stopped = functools.partial(self.tape.stopped, cause, self.moving_since)
        until(stopped, f"no zero after {cause}", lambda: self.status)
        self._periods(5)
        assert stopped()
        sent = [entry.what for entry in self.tape.entries if entry.kind == "sent"]
        until(lambda: self.commands[-1] == sent[-1], "the last command did not come")
        left = iter(sent)
        assert all(command in left for command in self.commands), "came in another order"

    def _periods(self, count: int) -> None:
        """Let command periods pass."""
        enough = self.tape.ticks + count
        until(lambda: self.tape.ticks >= enough, "the command timer stands still")

    def faults(self, code: str) -> InferenceStatus:
        """The robot stopped for this fault and says so."""
        until(lambda: self.status.fault, f"no fault {code}", lambda: self.status)
        assert self.status.fault_code == code, self.status.fault_reason
        assert self.status.state == InferenceStatus.FAULT
        self.stops(code)
        told = f"fault {code}: {self.status.fault_reason}"
        until(lambda: self.told("commands") == told, "not in diagnostics")
        return self.status

    def told(self, part: str) -> str:
        """What the diagnostics have against a part of the node."""
        found = self.diagnostics.get(f"policy_node: {part}", DiagnosticStatus())
        return str(found.message) if found.level == DiagnosticStatus.ERROR else ""

    def moves_only_when_told(self) -> None:
        """After a fault whose cause is gone: motion begins with clear_fault and enable."""
        tape, code = self.tape, self.status.fault_code
        begin = len(tape.entries)
        self._acts_in_vain()
        answer = self.call(self.enable, SetBool.Request(data=True))
        assert not answer.success and code in answer.message
        answer = self.call(self.clear_fault)
        assert answer.success and "~/enable" in answer.message
        self._acts_in_vain()
        assert not tape.moved(begin), "moved by itself"
        answer = self.call(self.enable, SetBool.Request(data=True))
        assert answer.success, answer.message
        self._periods(2)
        assert not tape.moved(begin), "moved before there was an image"
        self.act()
        until(lambda: tape.moved(begin) and self.moving, "no motion", lambda: self.status)
        self.moving_since = len(tape.entries)

    def _acts_in_vain(self) -> None:
        """An image, and an action that commands nothing."""
        assert not from_twist(self.act().command).any()
        self._periods(2)


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
        """After it the spinning thread holds nothing of the node, which may be destroyed."""
        self.do(lambda: self._executor.remove_node(node))
        self.do(lambda: None)  # a turn more: what was ready in that one has been looked at

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


@contextmanager
def logged() -> Iterator[Callable[..., None]]:
    """A function that waits until a node has logged a line with all of the given parts.

    Read from a file that only grows: capfd empties its own after reading it, and a line that
    another thread writes in between is lost; a real /rosout is silent for a node that has the name
    of an earlier one in its process.
    """
    with tempfile.TemporaryFile("w+", buffering=1) as log:
        console, stderr = os.dup(2), sys.stderr
        os.dup2(log.fileno(), 2)  # where a real rclpy writes
        sys.stderr = log  # where ours does

        def lines() -> list[str]:
            return os.pread(log.fileno(), 1 << 20, 0).decode().splitlines()

        def reads(*parts: str) -> None:
            until(
                lambda: any(all(part in line for part in parts) for line in lines()),
                f"nobody logs {parts}:",
                lines,
            )

        try:
            yield reads
        finally:
            sys.stderr = stderr
            os.dup2(console, 2)
            os.close(console)
            print(*lines(), sep="\n", file=sys.stderr)


def parameters(values: dict[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


def _heard(node: PolicyNode) -> bool:
    """The robot has found the node's publishers (a volatile one forgets what it sent before)."""
    telemetry = (node.telemetry._action, node.telemetry._selection)
    output = node.output
    return all(publisher.get_subscription_count() for publisher in telemetry) and (
        output.closed or output.listeners()
    )


@contextmanager
def driven(
    meet: bool = True, namespace: str = "", **overrides: Any
) -> Iterator[tuple[Robot, Watched, Rig]]:
    """A robot and an active policy node; ``__`` in a name stands for a dot. ``meet``: wait until
    each has found all of the other."""
    policies.SCRIPT.__init__()  # type: ignore[misc]
    GATE.set()
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    node = Watched(parameter_overrides=parameters(FAST | named), namespace=namespace)
    robot = Robot(namespace=namespace)
    robot.tape = node.tape
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
        GATE.set()
        rig.close()
        node.stop()
        for each in (node, robot):
            each.destroy_node()


@contextmanager
def context() -> Iterator[None]:
    """rclpy, in a domain of its own."""
    with DomainClaim() as claim:
        rclpy.init(domain_id=claim.domain)
        try:
            yield
        finally:
            rclpy.try_shutdown()
