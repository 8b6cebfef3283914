# SPDX-License-Identifier: Apache-2.0
"""What the node and MoveIt Servo agree on before an arm moves; Servo is a node like it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Any

import pytest
from rclpy.node import Node
from std_srvs.srv import SetBool

from test.nodes.harness import WORDS, driven, until
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes import servo_client
from vla_infoentropy_ros.nodes.servo_client import check_servo

pytestmark = pytest.mark.usefixtures("ros")

SERVO = {"command__servo": "/servo_node"}
GOOD = {"command_in_type": "speed_units", "incoming_command_timeout": 0.1}


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(servo_client, "_PERIOD_S", 0.05)


MISSING = "moveit_msgs, which a ROS installation may be without"


class FakeServo(Node):
    """Servo's parameters, and its service, which answers as it is told."""

    def __init__(self, parameters: dict[str, Any], switches: bool = True) -> None:
        super().__init__("servo_node")
        kind = pytest.importorskip("moveit_msgs.srv", reason=MISSING).ServoCommandType
        for name, value in parameters.items():
            self.declare_parameter(f"moveit_servo.{name}", value)
        self.asked: list[int] = []
        self._switches = switches
        self.service = self.create_service(kind, "~/switch_command_type", self._on_switch)
        self._kind = pytest.importorskip("moveit_msgs.msg", reason=MISSING).ServoStatus
        self._status = self.create_publisher(self._kind, "~/status", 10)

    def says(self, code: int, message: str) -> None:
        self._status.publish(self._kind(code=code, message=message))

    def _on_switch(self, request: Any, response: Any) -> Any:
        self.asked.append(request.command_type)
        response.success = self._switches
        return response


@contextmanager
def behind(servo: FakeServo | None, **options):
    with driven(meet=False, **SERVO, **options) as (robot, _node, rig):
        if servo is not None:
            rig.add(servo)
        until(lambda: robot.camera.get_subscription_count(), "no one takes images")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
        yield robot, rig
    if servo is not None:
        servo.destroy_node()


def answer(robot: Any) -> Any:
    return robot.call(robot.enable, SetBool.Request(data=True))


def test_a_servo_that_takes_speed_units_is_switched_to_twists() -> None:
    servo = FakeServo(GOOD)
    with behind(servo) as (robot, _):
        until(lambda: answer(robot).success, "refused", lambda: answer(robot).message)
        assert servo.asked and set(servo.asked) == {1}


@pytest.mark.parametrize(
    ("parameters", "switches", "reason"),
    [
        (GOOD | {"command_in_type": "unitless"}, True,
         "command_in_type='unitless', which would scale our m/s: set it to speed_units"),
        ({}, True, "no parameter moveit_servo.command_in_type"),
        (GOOD | {"incoming_command_timeout": 0.02}, True, "timeout=0.02 s, before the next"),
        (GOOD, False, "does not switch to twists"),
    ],
)  # fmt: skip
def test_a_servo_that_would_move_otherwise_is_refused(parameters, switches, reason) -> None:
    with behind(FakeServo(parameters, switches)) as (robot, _):
        until(lambda: reason in answer(robot).message, "not told", lambda: answer(robot).message)
        assert not answer(robot).success
        robot.act()
        assert not any(twist.any() for twist in robot.twists)


def test_without_servo_the_robot_is_not_enabled() -> None:
    with behind(None) as (robot, _):
        until(lambda: "no service /servo_node" in answer(robot).message, "not told",
              lambda: answer(robot).message)  # fmt: skip
        assert not answer(robot).success


def test_a_servo_that_goes_away_stops_the_robot() -> None:
    servo = FakeServo(GOOD)
    with behind(servo) as (robot, rig):
        until(lambda: answer(robot).success, "refused", lambda: answer(robot).message)
        until(lambda: robot.look() and robot.moving, "does not move", lambda: robot.status)
        rig.do(lambda: servo.destroy_service(servo.service))
        until(lambda: robot.look() and robot.status.fault, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "servo" and "/servo_node" in robot.status.fault_reason
        robot.ends_in_zero()


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (-1, "no transform from 'camera'", "it does not follow the command (no transform from 'c"),
        (2, "", "a singular pose is near (no reason given)"),
        (5, "too close", "a collision is near (too close)"),
        (6, "panda_joint4", "a joint is at its limit (panda_joint4)"),
    ],
)
def test_an_arm_that_servo_halts_is_a_fault(code, message, reason) -> None:
    servo = FakeServo(GOOD)
    with behind(servo) as (robot, rig):
        until(lambda: answer(robot).success, "refused", lambda: answer(robot).message)
        until(lambda: robot.look() and robot.moving, "does not move", lambda: robot.status)

        def faults() -> bool:
            rig.do(lambda: servo.says(code, message))
            return robot.look() and robot.status.fault

        until(faults, "no fault", lambda: robot.status)
        assert robot.status.fault_code == "servo"
        assert f"/servo_node halts the arm: {reason}" in robot.status.fault_reason
        robot.ends_in_zero()
        robot.call(robot.clear_fault)
        rig.do(lambda: servo.says(code, message))  # of the command before, which it repeats
        assert answer(robot).success


def test_an_arm_that_servo_slows_down_goes_on() -> None:
    servo = FakeServo(GOOD)
    with behind(servo) as (robot, rig):
        until(lambda: answer(robot).success, "refused", lambda: answer(robot).message)
        until(lambda: robot.look() and robot.moving, "does not move", lambda: robot.status)
        for _ in range(10):
            rig.do(lambda: servo.says(1, "73 % of the speed"))
            robot.act()
        assert not robot.status.fault


@pytest.mark.parametrize("module", ["srv", "msg"])
def test_the_package_is_named_where_it_is_missing(module, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, f"moveit_msgs.{module}", None)
    with pytest.raises(SettingError, match=r"command.servo='/servo_node' needs .*moveit_msgs"):
        check_servo(CommandSettings(servo="/servo_node"))
    check_servo(CommandSettings())


@pytest.mark.parametrize("output", ["pose", "trajectory"])
def test_another_output_needs_nothing_of_servo(output, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "moveit_msgs.srv", None)
    check_servo(CommandSettings(servo="/servo_node", output=output))
