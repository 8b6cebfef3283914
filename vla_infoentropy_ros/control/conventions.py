# SPDX-License-Identifier: Apache-2.0
"""What the seven numbers of an action mean to a robot."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.text import UserError

_GRIPPER = {
    "one_is_open": lambda value: value,
    "minus_one_is_open": lambda value: (1.0 - value) / 2.0,
    "one_is_closed": lambda value: 1.0 - value,
}
ROTATIONS = ("rpy", "axis_angle")
FRAMES = ("base", "end_effector")


class ConventionError(UserError, ValueError):
    """A convention that this package does not know."""


def gripper_opening(value: float, convention: str) -> float:
    """The gripper's opening, 0 closed to 1 open, from a policy's number; clipped."""
    if convention not in _GRIPPER:
        raise ConventionError(f"gripper={convention!r} is not among {', '.join(_GRIPPER)}")
    return min(1.0, max(0.0, float(_GRIPPER[convention](value))))


def rotation_vector(turn: NDArray[np.float64], rotation: str = "rpy") -> NDArray[np.float64]:
    """Extrinsic roll, pitch, yaw (3,) rad to the rotation vector (3,) rad of the same turn, the
    short way round; axis_angle is such a vector and comes back as it is."""
    if rotation not in ROTATIONS:
        raise ConventionError(f"rotation={rotation!r} is not among {', '.join(ROTATIONS)}")
    if rotation == "axis_angle":
        return np.array(turn, dtype=np.float64)
    w, x, y, z = rpy_quaternion(turn)
    sine = math.sqrt(x * x + y * y + z * z)
    if sine < 1e-12:
        return np.zeros(3)
    angle = 2.0 * math.atan2(sine, w)
    if angle > math.pi:  # the short way round
        angle -= 2.0 * math.pi
    return np.array([x, y, z]) * (angle / sine)


def rpy_quaternion(rpy: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Extrinsic roll, pitch, yaw (3,) rad to a unit quaternion (w, x, y, z)."""
    cr, cp, cy = (math.cos(float(angle) / 2.0) for angle in rpy)
    sr, sp, sy = (math.sin(float(angle) / 2.0) for angle in rpy)
    return (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )


def matrix_quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation matrix (3, 3) to a unit quaternion (w, x, y, z), from its largest component on
    (Shepperd's method), which no division by a small number spoils."""
    squares = np.array([np.trace(turn), *np.diag(turn)])
    first = int(np.argmax(squares))
    lines = np.array(
        [
            [1.0 + squares[0], turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0],
             turn[1, 0] - turn[0, 1]],
            [turn[2, 1] - turn[1, 2], 1.0 + 2.0 * turn[0, 0] - squares[0],
             turn[0, 1] + turn[1, 0], turn[0, 2] + turn[2, 0]],
            [turn[0, 2] - turn[2, 0], turn[0, 1] + turn[1, 0],
             1.0 + 2.0 * turn[1, 1] - squares[0], turn[1, 2] + turn[2, 1]],
            [turn[1, 0] - turn[0, 1], turn[0, 2] + turn[2, 0], turn[1, 2] + turn[2, 1],
             1.0 + 2.0 * turn[2, 2] - squares[0]],
        ]
    )  # fmt: skip
    w, x, y, z = (float(value) for value in lines[first] / np.linalg.norm(lines[first]))
    return w, x, y, z


def multiply(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Product of two quaternions (w, x, y, z): first b, then a."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def rotate(
    quaternion: tuple[float, float, float, float], vector: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn a vector (3,) by a unit quaternion (w, x, y, z)."""
    w, axis = quaternion[0], np.array(quaternion[1:])
    across = 2.0 * np.cross(axis, vector)
    turned: NDArray[np.float64] = vector + w * across + np.cross(axis, across)
    return turned


def step_to_twist(
    values: NDArray[np.float64], period_s: float, rotation: str = "rpy"
) -> NDArray[np.float64]:
    """Increments of one control period to the velocity that makes them.

    values: (>= 6,) m and rad. Returns (6,) m/s and rad/s in the same frame.
    """
    if not (math.isfinite(period_s) and period_s > 0.0):
        raise ConventionError(f"control_period_s={period_s}: must be above 0 s")
    turn = rotation_vector(values[3:6], rotation)
    return np.concatenate([values[:3], turn]) / period_s
