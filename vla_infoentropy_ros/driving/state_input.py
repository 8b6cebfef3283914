# SPDX-License-Identifier: Apache-2.0
"""The robot's state as an input of policies that take it: which numbers, in which order."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState
from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob
from vla_infoentropy_ros.models.proprioception import Proprioception

SOURCES = ("", "joint_states", "ee_pose")
# How many numbers each way to write an orientation takes.
ROTATIONS: Mapping[str, int] = {"axis_angle": 3, "rpy": 3, "quaternion_xyzw": 4}


@dataclass(frozen=True)
class StateSettings:
    """Where a policy's state comes from. Raises SettingError for a bad value."""

    source: str = knob(
        "",
        "topic of the robot's state, for policies that take one: joint_states = positions of "
        "state.joints; ee_pose = position, orientation, then state.joints; empty: none",
        choices=SOURCES,
    )
    joints: str = knob(
        "",
        "names of the joints in the order of training, commas between; with ee_pose those behind "
        "the pose, such as the fingers",
    )
    rotation: str = knob(
        "axis_angle", "how the orientation of ee_pose is written", choices=tuple(ROTATIONS)
    )

    def __post_init__(self) -> None:
        check_knobs(self, "state.")
        if len(set(self.names)) != len(self.names):
            raise SettingError(f"state.joints={self.joints!r} names a joint twice; give each once")
        if self.source == "joint_states" and not self.names:
            raise SettingError(
                "state.source=joint_states needs state.joints: name the joints in the order of "
                "training"
            )
        if self.joints and not self.source:
            raise SettingError(
                f"state.joints={self.joints!r}, but state.source is empty; set it to joint_states "
                "or ee_pose"
            )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> StateSettings:
        """From what the flags of `add_state_arguments` were given."""
        return cls(**{entry.name: getattr(arguments, f"state_{entry.name}")
                      for entry in fields(cls)})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.joints.split(",") if name.strip())

    @property
    def size(self) -> int:
        """How many numbers a state has."""
        return len(self.names) + (3 + ROTATIONS[self.rotation]) * (self.source == "ee_pose")

    def check(self, taken: Proprioception | None) -> None:
        """Raise SettingError where a policy takes another state, or none."""
        if taken is None:
            if self.source:
                raise SettingError(
                    f"state.source={self.source}, but the policy takes no robot state; leave it "
                    "empty"
                )
            return
        if not self.source:
            raise SettingError(
                f"the policy takes the robot's state, {taken.size} numbers, and state.source is "
                "empty; set it to joint_states or ee_pose, as training recorded it"
            )
        if self.size != taken.size:
            what = f"state.source={self.source} with {len(self.names)} state.joints"
            if self.source == "ee_pose":
                what += f" and state.rotation={self.rotation}"
            raise SettingError(
                f"{what} makes {self.size} numbers, the policy takes {taken.size}; name what it "
                "was trained with"
            )

    def read(self, robot: RobotState, timeout_s: float) -> NDArray[np.float64] | Fault:
        """The state (S,) of now, m and rad; a fault where a part of it is missing, older than
        ``timeout_s`` or in another frame."""
        parts: list[NDArray[np.float64]] = []
        if self.source == "ee_pose":
            pose = robot.pose(timeout_s)
            if isinstance(pose, Fault):
                return pose
            parts.append(_pose_numbers(pose, self.rotation))
        if self.names:
            joints = robot.joints(self.names, timeout_s)
            if isinstance(joints, Fault):
                return joints
            parts.append(joints)
        return np.concatenate(parts)


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """``--state-source`` and the others, for commands that feed a policy recorded states."""
    group = parser.add_argument_group("the robot's state")
    for entry in fields(StateSettings):
        group.add_argument(
            f"--state-{entry.name}", default=entry.default, metavar="NAME",
            choices=entry.metadata["choices"], help=entry.metadata["doc"],
        )


def _pose_numbers(pose: Pose, rotation: str) -> NDArray[np.float64]:
    w, x, y, z = pose.orientation
    if rotation == "quaternion_xyzw":
        return np.concatenate([pose.position, (x, y, z, w)])
    if rotation == "rpy":
        sine = max(-1.0, min(1.0, 2.0 * (w * y - z * x)))
        turn = (
            math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
            math.asin(sine),
            math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)),
        )
        return np.concatenate([pose.position, turn])
    # As robosuite writes it: an angle from 0 to 2 pi, whichever sign the quaternion has.
    length = math.sqrt(x * x + y * y + z * z)
    angle = 2.0 * math.atan2(length, w)
    scale = angle / length if length > 1e-12 else 0.0
    return np.concatenate([pose.position, (x * scale, y * scale, z * scale)])
