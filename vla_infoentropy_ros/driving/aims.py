# SPDX-License-Identifier: Apache-2.0
"""What an arm is told so that it moves as a command says: a velocity, a pose, or joint positions.

The target of an action as a position is reckoned from where the arm is when the action is issued,
so errors do not add up. To stop is to ask for where the arm is now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import multiply, rotate
from vla_infoentropy_ros.control.faults import NO_SOLUTION, STALE_STATE, Fault
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.control.limits import keep_inside
from vla_infoentropy_ros.control.resampling import Command
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState

_STOP_S = 0.1  # time an arm is given to stand still where it is


@dataclass(frozen=True)
class Target:
    """frame_id: TF name of the frame it is given in."""

    frame_id: str


@dataclass(frozen=True)
class Velocity(Target):
    """twist: (6,) m/s, rad/s."""

    twist: NDArray[np.float64]


@dataclass(frozen=True)
class HandPose(Target):
    """The next pose of the end effector."""

    pose: Pose


@dataclass(frozen=True)
class JointPositions(Target):
    """positions: (n,) rad or m of the named joints, to be reached after ``duration_s``."""

    names: tuple[str, ...]
    positions: NDArray[np.float64]
    duration_s: float


class TwistAim:
    """Velocities, and the workspace, which is the same for all."""

    def __init__(self, state: RobotState) -> None:
        self._state = state
        self.frame_id = self.base_frame = ""
        self.end_effector_frame = False

    def set_frame(self, frame_convention: str, settings: CommandSettings) -> None:
        """frame_convention: "base" or "end_effector"; gives commands their TF name."""
        self.end_effector_frame = frame_convention != "base"
        self.base_frame = settings.base_frame
        self._state.configure(settings)
        self.frame_id = settings.tool_frame if self.end_effector_frame else settings.base_frame

    def prepare(self, settings: CommandSettings) -> None:
        """Whatever takes long and needs no command: called before `plan`, and without its lock."""

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        """Aim for a new command; the fault that forbids it, if any."""
        return None

    def target(self, command: Command) -> Target | None:
        """What to send for a command that was planned, or for zero; None: nothing is known."""
        return Velocity(self.frame_id, command.twist)

    def inside_workspace(
        self, twist: NDArray[np.float64], settings: CommandSettings, hold_s: float
    ) -> NDArray[np.float64] | Fault:
        """The twist (6,), cut so that the hand stays in the workspace; a fault without a pose."""
        if not settings.limit_workspace:
            return twist
        pose = self._state.pose(settings.pose_timeout_s)
        if isinstance(pose, Fault):
            return pose
        if not self.end_effector_frame:
            line = keep_inside(twist[:3], pose.position, settings, hold_s)
        else:
            w, x, y, z = pose.orientation
            in_base = rotate(pose.orientation, twist[:3])
            kept = keep_inside(in_base, pose.position, settings, hold_s)
            line = rotate((w, -x, -y, -z), kept)
        return np.concatenate([line, twist[3:]])


class PoseAim(TwistAim):
    """The next pose of the end effector, in the base frame."""

    def __init__(self, state: RobotState) -> None:
        super().__init__(state)
        self._goal: Pose | None = None

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        here = self._state.pose(settings.pose_timeout_s)
        if isinstance(here, Fault):
            return here
        motion = command.twist * command.period_s
        line, spin = motion[:3], _quaternion(motion[3:])
        if self.end_effector_frame:
            line, after = rotate(here.orientation, line), multiply(here.orientation, spin)
        else:
            after = multiply(spin, here.orientation)
        self._goal = Pose(here.position + line, after)
        return None

    def target(self, command: Command) -> Target | None:
        goal = self._goal if command.period_s else self._state.last_pose
        return None if goal is None else HandPose(self.base_frame, goal)


class JointAim(TwistAim):
    """The next joint positions, by the chain that robot_description holds."""

    def __init__(self, state: RobotState) -> None:
        super().__init__(state)
        self._described: tuple[str, str, str] | None = None
        self._chain: Chain | None = None
        self._goal: NDArray[np.float64] | None = None
        self._problem = Fault(
            STALE_STATE,
            "robot_description never arrived; start robot_state_publisher, or use "
            "command.output twist or pose",
        )

    def prepare(self, settings: CommandSettings) -> None:
        described = self._state.description, settings.base_frame, settings.tool_frame
        if not described[0] or described == self._described:
            return
        self._described = described
        try:
            self._chain = Chain.from_urdf(*described)
        except KinematicsError as error:
            self._chain, self._problem = None, Fault(NO_SOLUTION, str(error))

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        chain = self._chain
        if chain is None:
            return self._problem
        positions = self._state.joints(chain.names, settings.pose_timeout_s)
        if isinstance(positions, Fault):
            return positions
        motion = command.twist * command.period_s
        try:
            if self.end_effector_frame:
                turn, _ = chain.forward(positions)
                motion = np.concatenate([turn @ motion[:3], turn @ motion[3:]])
            self._goal = chain.step(positions, motion, command.period_s)
        except KinematicsError as error:
            return Fault(NO_SOLUTION, str(error))
        return None

    def target(self, command: Command) -> Target | None:
        if self._chain is None:
            return None
        names, moving = self._chain.names, command.period_s > 0.0
        positions = self._goal if moving else self._state.last_joints(names)
        if positions is None:
            return None
        duration_s = command.period_s if moving else _STOP_S
        return JointPositions(self.frame_id, names, positions, duration_s)


AIMS: dict[str, type[TwistAim]] = {"twist": TwistAim, "pose": PoseAim, "trajectory": JointAim}
"""By command.output."""


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation vector (3,) rad to (w, x, y, z)."""
    angle = float(np.linalg.norm(turn))
    scale = math.sin(angle / 2.0) / angle if angle > 1e-12 else 0.5
    return (math.cos(angle / 2.0), *(float(part) * scale for part in turn))  # type: ignore[return-value]
