# SPDX-License-Identifier: Apache-2.0
"""A serial arm from its URDF: where the hand is, and which joint motion moves it a little."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import rotate, rpy_quaternion

_DAMPING = 0.02
"""Of the least squares, m: near a singular pose joints move slowly instead of wildly."""
_LEAST_PROGRESS = 0.5
"""Share of the wanted motion that must be possible."""
_MOVING = ("revolute", "continuous", "prismatic")


class KinematicsError(ValueError):
    """The arm's description is unusable, or the arm cannot make the motion."""


@dataclass(frozen=True)
class Joint:
    """origin: (R (3, 3), t (3,) m) from the parent's frame; axis: (3,) unit; limits: rad or m."""

    name: str
    kind: str
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    axis: NDArray[np.float64]
    lower: float
    upper: float


@dataclass(frozen=True)
class Chain:
    """The joints between base and tip, fixed ones included, base first."""

    joints: tuple[Joint, ...]

    @classmethod
    def from_urdf(cls, text: str, base: str, tip: str) -> Chain:
        """The chain from link ``base`` to link ``tip``. Raises KinematicsError."""
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise KinematicsError(f"robot_description is no XML: {error}") from error
        by_child = {
            _attribute(joint, "child", "link"): joint
            for joint in root.iter("joint")
            if joint.find("child") is not None
        }
        joints: list[Joint] = []
        link = tip
        while link != base:
            if link not in by_child or len(joints) > len(by_child):
                raise KinematicsError(
                    f"robot_description has no chain from {base!r} to {tip!r} (stopped at "
                    f"{link!r}); set command.base_frame and command.tool_frame to links of the arm"
                )
            element = by_child[link]
            joints.append(_joint(element))
            link = _attribute(element, "parent", "link")
        chain = cls(tuple(reversed(joints)))
        if not chain.names:
            raise KinematicsError(f"no movable joint between {base!r} and {tip!r}")
        return chain

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the movable joints, base first."""
        return tuple(joint.name for joint in self.joints if joint.kind in _MOVING)

    def forward(self, positions: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Joint positions (n,) to the tip's rotation (3, 3) and position (3,) m in the base."""
        turn, place, _ = self._walk(positions)
        return turn, place

    def jacobian(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6, n): joint speeds to the tip's velocity and turning speed, in the base frame."""
        _, tip, axes = self._walk(positions)
        columns = [
            np.concatenate([axis, np.zeros(3)])
            if kind == "prismatic"
            else np.concatenate([np.cross(axis, tip - origin), axis])
            for kind, axis, origin in axes
        ]
        return np.stack(columns, axis=1)

    def step(
        self, positions: NDArray[np.float64], motion: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Joint positions (n,) after a small motion (6,) m, rad of the tip in the base frame.

        Raises KinematicsError where a joint limit or a singular pose forbids it.
        """
        jacobian = self.jacobian(positions)
        square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
        change = jacobian.T @ np.linalg.solve(square, motion)
        missing = float(np.linalg.norm(jacobian @ change - motion))
        if missing > _LEAST_PROGRESS * float(np.linalg.norm(motion)) + 1e-9:
            raise KinematicsError("the arm is in or near a singular pose; move it out by hand")
        after: NDArray[np.float64] = positions + change
        movable = [joint for joint in self.joints if joint.kind in _MOVING]
        for joint, value in zip(movable, after, strict=True):
            if not joint.lower <= value <= joint.upper:
                raise KinematicsError(
                    f"joint {joint.name} would go to {value:.3f}, outside its limits "
                    f"[{joint.lower:.3f}, {joint.upper:.3f}]"
                )
        return after

    def _walk(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray, NDArray, list[tuple[str, NDArray, NDArray]]]:
        if positions.shape != (len(self.names),):
            raise KinematicsError(f"{positions.shape[0]} positions for {len(self.names)} joints")
        turn, place = np.eye(3), np.zeros(3)
        axes, values = [], iter(positions)
        for joint in self.joints:
            place = place + turn @ joint.translation
            turn = turn @ joint.rotation
            if joint.kind not in _MOVING:
                continue
            axis, value = turn @ joint.axis, float(next(values))
            axes.append((joint.kind, axis, place))
            if joint.kind == "prismatic":
                place = place + axis * value
            else:
                turn = turn @ _about(joint.axis, value)
        return turn, place, axes


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in (*_MOVING, "fixed"):
        raise KinematicsError(f"joint {name} is {kind}; the chain may hold {', '.join(_MOVING)}")
    origin, axis, limit = (element.find(tag) for tag in ("origin", "axis", "limit"))
    rpy = _numbers(None if origin is None else origin.get("rpy"), "0 0 0")
    direction = _numbers(None if axis is None else axis.get("xyz"), "1 0 0")
    quaternion = rpy_quaternion(rpy)
    bounded = limit is not None and kind != "continuous"
    return Joint(
        name,
        kind,
        np.stack([rotate(quaternion, unit) for unit in np.eye(3)], axis=1),
        _numbers(None if origin is None else origin.get("xyz"), "0 0 0"),
        direction / (np.linalg.norm(direction) or 1.0),
        float(limit.get("lower", "0")) if bounded and limit is not None else -math.inf,
        float(limit.get("upper", "0")) if bounded and limit is not None else math.inf,
    )


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    x, y, z = (float(part) for part in math.sin(angle / 2) * axis)
    quaternion = (math.cos(angle / 2), x, y, z)
    return np.stack([rotate(quaternion, unit) for unit in np.eye(3)], axis=1)


def _attribute(joint: ElementTree.Element, tag: str, name: str) -> str:
    found = joint.find(tag)
    return "" if found is None else found.get(name, "")


def _numbers(text: str | None, default: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in (text or default).split()])
