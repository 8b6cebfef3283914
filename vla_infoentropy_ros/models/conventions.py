# SPDX-License-Identifier: Apache-2.0
"""How the numbers that a checkpoint emits become metres, radians and a gripper command.

OpenVLA's un-normalised values mean what its training set meant by them: see `datasets`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import (
    GRIPPER_CONVENTIONS,
    ROTATION_CONVENTIONS,
)

# robosuite's OSC_POSE controller in its default scaling: m and rad per unit (LIBERO's actions).
OSC_POSE_SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5])


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PolicyError(f"{name}={value!r}: must be one of {', '.join(known)}")


def convert_gripper(value: float, target: str) -> float:
    """From the model's 1 = open, 0 = closed to a named convention.

    one_is_open: as it is (Bridge). minus_one_is_open: -sign(2 g - 1), two states (LIBERO).
    one_is_closed: 1 - g. The gripper's token spans [-1, 1]; what training never saw, below 0,
    counts as closed.
    """
    _check("gripper", target, GRIPPER_CONVENTIONS)
    opening = min(max(value, 0.0), 1.0)
    if target == "minus_one_is_open":
        return float(-np.sign(2.0 * opening - 1.0))
    return 1.0 - opening if target == "one_is_closed" else opening


def convert_rotation(
    increment: NDArray[np.float64], source: str, target: str
) -> NDArray[np.float64]:
    """A rotation increment (3,) in rad from one named convention to another."""
    _check("rotation", source, ROTATION_CONVENTIONS)
    _check("rotation", target, ROTATION_CONVENTIONS)
    if source == target:
        return increment
    if source == "axis_angle":
        return _matrix_to_rpy(_axis_angle_to_matrix(increment))
    return _matrix_to_axis_angle(_rpy_to_matrix(increment))


def _axis_angle_to_matrix(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def _matrix_to_rpy(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """R = Rz(yaw) Ry(pitch) Rx(roll)."""
    pitch = np.arcsin(np.clip(-matrix[2, 0], -1.0, 1.0))
    if abs(matrix[2, 0]) > 1.0 - 1e-12:  # gimbal lock: only roll -/+ yaw is defined
        return np.array([np.arctan2(-matrix[1, 2], matrix[1, 1]), pitch, 0.0])
    roll = np.arctan2(matrix[2, 1], matrix[2, 2])
    return np.array([roll, pitch, np.arctan2(matrix[1, 0], matrix[0, 0])])


def _rpy_to_matrix(rpy: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = np.eye(3)
    roll, pitch, yaw = (_axis_angle_to_matrix(axes[i] * rpy[i]) for i in range(3))
    return yaw @ pitch @ roll


def _matrix_to_axis_angle(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """By way of the quaternion, which is well conditioned at every angle."""
    trace = float(np.trace(matrix))
    # Rows of the symmetric 4 x 4 form whose largest eigenvector is the quaternion (x, y, z, w).
    skew = np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    form = np.empty((4, 4))
    form[:3, :3] = matrix + matrix.T - trace * np.eye(3)
    form[:3, 3] = form[3, :3] = skew
    form[3, 3] = trace
    quaternion = np.linalg.eigh(form)[1][:, -1]
    quaternion = quaternion if quaternion[3] >= 0 else -quaternion
    length = float(np.linalg.norm(quaternion[:3]))
    if length < 1e-15:
        return np.zeros(3)
    return quaternion[:3] / length * 2.0 * np.arctan2(length, quaternion[3])
