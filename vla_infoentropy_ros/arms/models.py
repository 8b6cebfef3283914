# SPDX-License-Identifier: Apache-2.0
"""The arms that the stand-in can be, and how they begin an episode at the tabletop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.share import share_directory

_DOWN = np.diag([1.0, -1.0, -1.0])
"""Rotation of a tip that points down, turned by no yaw."""
_TURNS = 200
_CLOSE = 1e-9


@dataclass(frozen=True)
class Gripper:
    """action: name of the server that its driver has. opened, closed: what it takes, m or rad."""

    action: str
    opened: float
    closed: float

    def opening(self, position: float) -> float:
        """0 closed .. 1 open."""
        return min(1.0, max(0.0, (position - self.closed) / (self.opened - self.closed)))


@dataclass(frozen=True)
class ArmModel:
    """base, tip: links of its URDF; the tip is where the fingers meet. ready: joint positions (n,)
    rad over the tabletop, the hand down and the elbow up, from which every start pose is found.
    gripper: the one that is common with it; ``config/robots`` says from where its values are."""

    name: str
    base: str
    tip: str
    ready: tuple[float, ...]
    gripper: Gripper

    @cached_property
    def urdf(self) -> str:
        """Its robot_description."""
        path = share_directory() / "config" / "arms" / f"{self.name}.urdf"
        return path.read_text(encoding="utf-8")

    @cached_property
    def chain(self) -> Chain:
        return Chain.from_urdf(self.urdf, self.base, self.tip)

    def reach(self, position: NDArray[np.float64], yaw: float = 0.0) -> NDArray[np.float64]:
        """Joint positions (n,) that bring the tip to ``position`` (3,) m in the base frame, hand
        down and turned by ``yaw`` rad about the vertical.

        Newton's method on the pose, damped. Raises KinematicsError where it finds none.
        """
        chain, joints = self.chain, np.array(self.ready)
        goal = _about_z(yaw) @ _DOWN
        for _ in range(_TURNS):
            turn, place = chain.forward(joints)
            error = np.concatenate([position - place, _small_rotation(goal @ turn.T)])
            if float(np.linalg.norm(error)) < _CLOSE:
                return joints
            jacobian = chain.jacobian(joints)
            square = jacobian @ jacobian.T + 1e-4 * np.eye(6)
            joints = joints + np.clip(jacobian.T @ np.linalg.solve(square, error), -0.2, 0.2)
        raise KinematicsError(f"the {self.name} does not reach {position.tolist()} m, hand down")


_FRANKA_HAND = Gripper("/franka_gripper/gripper_action", 0.04, 0.0)
_ROBOTIQ_2F85 = Gripper("/robotiq_gripper_controller/gripper_cmd", 0.0, 0.8)
_XARM_GRIPPER = Gripper("/xarm_gripper/gripper_action", 0.0, 0.85)
_PANDA_READY = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)
_UR_READY = (-0.25, -1.5, 2.0, -2.1, -math.pi / 2, -1.8)

ARMS: Mapping[str, ArmModel] = {
    arm.name: arm
    for arm in (
        ArmModel("panda", "panda_link0", "panda_hand_tcp", _PANDA_READY, _FRANKA_HAND),
        ArmModel("ur5", "base_link", "gripper_tcp", _UR_READY, _ROBOTIQ_2F85),
        ArmModel("ur5e", "base_link", "gripper_tcp", _UR_READY, _ROBOTIQ_2F85),
        ArmModel("xarm6", "link_base", "link_tcp", (0.0, -0.5, -1.0, 0.0, 1.5, 0.0), _XARM_GRIPPER),
    )
}


def tip_yaw(turn: NDArray[np.float64]) -> float:
    """Yaw of a tip with rotation matrix (3, 3) that points down, rad."""
    return math.atan2(turn[1, 0], turn[0, 0])


def _about_z(angle: float) -> NDArray[np.float64]:
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _small_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis of a rotation matrix (3, 3) times the sine of its angle, (3,)."""
    skew = (matrix - matrix.T) / 2.0
    return np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
