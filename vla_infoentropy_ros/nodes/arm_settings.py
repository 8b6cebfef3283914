# SPDX-License-Identifier: Apache-2.0
"""Settings of the stand-in arm, beside those of the tabletop's simulator and Servo's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.arms.servo import ServoSettings
from vla_infoentropy_ros.driving.parameter_specs import ParameterSpec, group_specs
from vla_infoentropy_ros.knobs import check_knobs, knob
from vla_infoentropy_ros.nodes.sim_settings import SimSettings


@dataclass(frozen=True)
class ArmSettings:
    """Raises SettingError for a bad value."""

    arm: str = knob("panda", "whose joints and limits", choices=tuple(ARMS))
    controller: str = knob(
        "twist",
        "what stands before the joints: twist = MoveIt Servo, trajectory = "
        "joint_trajectory_controller",
        choices=("twist", "trajectory"),
    )
    gripper_action_type: str = knob(
        "GripperCommand",
        "what the gripper serves under the name that its driver gives it, beside the topic "
        "gripper_command",
        choices=("GripperCommand", "ParallelGripperCommand"),
    )

    def __post_init__(self) -> None:
        check_knobs(self)


_SERVO = "moveit_servo."


def servo_name(field: str) -> str:
    """Servo's parameter for a field of ServoSettings, under its own name."""
    return _SERVO + field.replace("scale_", "scale.")


def arm_specs() -> list[ParameterSpec]:
    """All parameters of the node."""
    servo = [replace(spec, name=servo_name(spec.name)) for spec in group_specs("", ServoSettings)]
    return [*group_specs("", SimSettings), *group_specs("", ArmSettings), *servo]


def arm_groups(values: Mapping[str, Any]) -> tuple[SimSettings, ArmSettings, ServoSettings]:
    """The settings that parameters make. Raises SettingError."""
    sim, arm = (
        {entry.name: values[entry.name] for entry in fields(group)}
        for group in (SimSettings, ArmSettings)
    )
    servo = {entry.name: values[servo_name(entry.name)] for entry in fields(ServoSettings)}
    return SimSettings(**sim), ArmSettings(**arm), ServoSettings(**servo)
