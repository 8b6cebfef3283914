# SPDX-License-Identifier: Apache-2.0
"""Comes to terms with MoveIt Servo: the unit that it takes, how fast commands must come, its mode.

Looked at again and again while commands may be sent: a Servo that is restarted waits for joint
commands again, and a twist that it reads in another unit moves the arm at another speed. And it
tells of itself why it halts the arm.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from vla_infoentropy_ros.control.faults import SERVO, Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.qos import NEWEST

_PERIOD_S = 0.5
_PATIENCE = 10
"""Periods without an answer after which Servo counts as not answering."""
_NOTICED_S = 0.2
"""Servo repeats what it said of the command before until it has looked at a new one."""
_UNIT, _TIMEOUT = "moveit_servo.command_in_type", "moveit_servo.incoming_command_timeout"


def check_servo(settings: CommandSettings) -> None:
    """Raises SettingError where Servo is asked and its messages are not installed."""
    if settings.asks_servo:
        _types(settings)


def _types(settings: CommandSettings) -> tuple[Any, Any]:
    """ServoCommandType and ServoStatus."""
    try:
        service = importlib.import_module("moveit_msgs.srv").ServoCommandType
        return service, importlib.import_module("moveit_msgs.msg").ServoStatus
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"command.servo={settings.servo!r} needs ServoCommandType and ServoStatus of the ROS "
            "package moveit_msgs: install or update it, or leave the parameter empty where "
            "something else than MoveIt Servo takes twist_command"
        ) from error


class ServoClient:
    """``command.servo``: name of Servo's node. Everything runs in the executor's thread."""

    def __init__(self, node: Any, settings: CommandSettings) -> None:
        self._node, self._name = node, settings.servo
        self._rate_hz = settings.rate_hz
        kind, status = _types(settings)
        self._twist = kind.Request(command_type=kind.Request.TWIST)
        self._get = node.create_client(GetParameters, f"{self._name}/get_parameters")
        self._switch = node.create_client(kind, f"{self._name}/switch_command_type")
        self._problem = f"{self._name} has not been asked yet: try again in a moment"
        self._waiting: Any = None
        self._waited = 0
        self._halts = {
            status.INVALID: "it does not follow the command",
            status.HALT_FOR_SINGULARITY: "a singular pose is near",
            status.HALT_FOR_COLLISION: "a collision is near",
            status.JOINT_BOUND: "a joint is at its limit",
        }
        self._halted, self._moving_since_s = "", math.inf
        self._status = node.create_subscription(
            status, f"{self._name}/status", self._on_status, NEWEST
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD_S, self._look, clock=steady)

    def fault(self) -> Fault | None:
        """Why Servo cannot be commanded, or halts the arm."""
        problem = self._problem or self._halted
        return Fault(SERVO, problem) if problem else None

    def sent(self, moving: bool) -> None:
        """A command has gone out: what Servo says of it counts until the arm is to stand."""
        if not moving:
            self._halted, self._moving_since_s = "", math.inf
        elif self._moving_since_s == math.inf:
            self._moving_since_s = time.monotonic()

    def _on_status(self, message: Any) -> None:
        halt = self._halts.get(message.code, "")
        noticed = time.monotonic() - self._moving_since_s > _NOTICED_S
        self._halted = (
            f"{self._name} halts the arm: {halt} ({printable(message.message) or 'no reason given'}"
            "); move the arm out by hand, or correct the command's frame"
        ) if halt and noticed else ""

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._status)
        self._node.destroy_client(self._get)
        self._node.destroy_client(self._switch)

    def _look(self) -> None:
        for client in (self._get, self._switch):
            if not client.service_is_ready():
                self._drop()
                self._problem = (
                    f"no service {client.srv_name}: start MoveIt Servo, correct command.servo, or "
                    "leave it empty where something else takes twist_command"
                )
                return
        if self._waiting is None:
            self._ask(self._get, GetParameters.Request(names=[_UNIT, _TIMEOUT]), self._told)
            return
        self._waited += 1
        if self._waited > _PATIENCE:
            self._drop()
            self._problem = f"{self._name} does not answer; see its log"

    def _ask(self, client: Any, request: Any, then: Any) -> None:
        self._waiting, self._waited = client.call_async(request), 0
        self._waiting.add_done_callback(
            lambda answer: then(answer.result()) if answer is self._waiting else None
        )

    def _drop(self) -> None:
        """Whatever is answered yet counts no more."""
        self._waiting = None

    def _told(self, answer: GetParameters.Response) -> None:
        self._drop()
        problem = self._objection(answer.values)
        if problem:
            self._problem = problem
        else:
            self._ask(self._switch, self._twist, self._switched)

    def _objection(self, values: Sequence[ParameterValue]) -> str:
        """What is wrong with Servo's parameters, one sentence."""
        unit = values[0] if values else ParameterValue()
        if unit.type != ParameterType.PARAMETER_STRING:
            return f"{self._name} has no parameter {_UNIT}: is it MoveIt Servo?"
        if unit.string_value != "speed_units":
            return (
                f"{self._name} takes {_UNIT}={printable(unit.string_value)!r}, which would scale "
                "our m/s: set it to speed_units in Servo's parameters and start Servo anew"
            )
        timeout = values[1] if len(values) > 1 else ParameterValue()
        if timeout.type == ParameterType.PARAMETER_DOUBLE:
            longest_s = timeout.double_value
            if longest_s * self._rate_hz <= 1.0:
                return (
                    f"{self._name} gives a command up after {_TIMEOUT}={longest_s} s, before the "
                    f"next one of command.rate_hz={self._rate_hz} comes; raise either"
                )
        return ""

    def _switched(self, answer: Any) -> None:
        self._drop()
        self._problem = (
            "" if answer.success else f"{self._name} does not switch to twists; see its log"
        )
