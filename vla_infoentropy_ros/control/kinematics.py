# SPDX-License-Identifier: Apache-2.0
"""A serial arm from its URDF: where the hand is, and which joint motion moves it a little.

Without a library: Pinocchio finds the same to 1e-15 (test/arms/test_models.py compares them) and
200 times faster, but it brings 0.4 GB, 4 s of import and messages of its own, for one Jacobian of
0.4 ms per action and for joints whose limits would have to be kept here all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import rotate, rpy_quaternion
from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.markup import parse_xml
from vla_infoentropy_ros.foreign.text import UserError

_DAMPING = 0.02
"""Of the least squares, m: near a singular pose joints move slowly instead of wildly."""
_LEAST_PROGRESS = 0.5
"""Share of the wanted motion that must be possible."""
_STRAIGHT = np.array([0.01] * 3 + [0.1] * 3)
"""m, rad: over so short a motion a Jacobian holds."""
_OVERSHOOT = 1e-3
"""m: how much farther than wanted the hand may go."""
_MOVING = ("revolute", "continuous", "prismatic")


class KinematicsError(UserError, ValueError):
    """The arm's description is unusable, or the arm cannot make the motion."""


@dataclass(frozen=True)
class Joint:
    """origin: (R (3, 3), t (3,) m) from the parent's frame; axis: (3,) unit; limits: rad or m,
    rad/s or m/s. child: the link that it moves."""

    name: str
    child: str
    kind: str
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    axis: NDArray[np.float64]
    lower: float
    upper: float
    speed: float


@dataclass(frozen=True)
class _After:
    """Behind a joint, in the base's frame: turn (3, 3), place (3,) m of its link, and the joint's
    own axis (3,) and origin (3,) m."""

    joint: Joint
    axis: NDArray[np.float64]
    origin: NDArray[np.float64]
    turn: NDArray[np.float64]
    place: NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """The joints between the link ``base`` and the tip, fixed ones included, base first."""

    base: str
    joints: tuple[Joint, ...]

    @classmethod
    def from_urdf(cls, text: str, base: str, tip: str) -> Chain:
        """The chain from link ``base`` to link ``tip``. Raises KinematicsError."""
        root = parse_xml(text, "robot_description", "description_characters", KinematicsError)
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
            within("joint_names", len(joints), "robot_description", KinematicsError)
        chain = cls(base, tuple(reversed(joints)))
        if not chain.names:
            raise KinematicsError(f"no movable joint between {base!r} and {tip!r}")
        return chain

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the movable joints, base first."""
        return tuple(joint.name for joint in self.movable)

    @property
    def movable(self) -> tuple[Joint, ...]:
        """The joints that are not fixed, base first."""
        return tuple(joint for joint in self.joints if joint.kind in _MOVING)

    def forward(self, positions: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Joint positions (n,) to the tip's rotation (3, 3) and position (3,) m in the base."""
        last = self._walk(positions)[-1]
        return last.turn, last.place

    def links(self, positions: NDArray[np.float64]) -> dict[str, tuple[NDArray, NDArray]]:
        """Rotation (3, 3) and position (3,) m in the base of each link from base to tip."""
        first = {self.base: (np.eye(3), np.zeros(3))}
        return first | {
            after.joint.child: (after.turn, after.place) for after in self._walk(positions)
        }

    def jacobian(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6, n): joint speeds to the tip's velocity and turning speed, in the base frame."""
        walk = self._walk(positions)
        tip = walk[-1].place
        moving = [after for after in walk if after.joint.kind in _MOVING]
        axes = np.array([after.axis for after in moving])
        origins = np.array([after.origin for after in moving])
        slides = np.array([after.joint.kind == "prismatic" for after in moving])[:, None]
        lines = np.where(slides, axes, np.cross(axes, tip - origins))
        return np.concatenate([lines, np.where(slides, 0.0, axes)], axis=1).T

    def step(
        self, positions: NDArray[np.float64], motion: NDArray[np.float64], period_s: float
    ) -> NDArray[np.float64]:
        """Joint positions (n,) after a motion (6,) m, rad of the tip in the base frame within
        ``period_s``; less of the motion where a joint is too slow for it.

        Raises KinematicsError where a joint limit or a singular pose forbids it.
        """
        pieces = max(1, math.ceil(float(np.max(np.abs(motion) / _STRAIGHT))))
        after = positions
        for _ in range(pieces):
            after = after + self._change(after, motion / pieces)
        speeds = np.abs(after - positions) / period_s
        limits = np.array([joint.speed for joint in self.movable])
        share = 1.0 / max(1.0, float(np.max(speeds / limits)))  # a limit may be infinite
        after = positions + share * (after - positions)
        self._check(positions, after, float(np.linalg.norm(motion[:3])))
        return after

    def _change(
        self, positions: NDArray[np.float64], motion: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What a short motion (6,) changes, by damped least squares: (n,)."""
        jacobian = self.jacobian(positions)
        square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
        change: NDArray[np.float64] = jacobian.T @ np.linalg.solve(square, motion)
        missing = float(np.linalg.norm(jacobian @ change - motion))
        if missing > _LEAST_PROGRESS * float(np.linalg.norm(motion)) + 1e-9:
            raise KinematicsError("the arm is in or near a singular pose; move it out by hand")
        return change

    def _check(
        self, before: NDArray[np.float64], after: NDArray[np.float64], wanted_m: float
    ) -> None:
        for joint, value in zip(self.movable, after, strict=True):
            if not joint.lower <= value <= joint.upper:
                raise KinematicsError(
                    f"joint {joint.name} would go to {value:.3f}, outside its limits "
                    f"[{joint.lower:.3f}, {joint.upper:.3f}]"
                )
        moved_m = float(np.linalg.norm(self.forward(after)[1] - self.forward(before)[1]))
        if moved_m > wanted_m + _OVERSHOOT:
            raise KinematicsError(
                f"the hand would go {moved_m:.4f} m instead of {wanted_m:.4f} m: a singular pose "
                "is near; move the arm out by hand"
            )

    def _walk(self, positions: NDArray[np.float64]) -> list[_After]:
        if positions.shape != (len(self.names),):
            raise KinematicsError(f"{positions.shape[0]} positions for {len(self.names)} joints")
        turn, place = np.eye(3), np.zeros(3)
        walk, values = [], iter(positions)
        for joint in self.joints:
            origin = place = place + turn @ joint.translation
            turn = turn @ joint.rotation
            axis = turn @ joint.axis
            if joint.kind == "prismatic":
                place = place + axis * float(next(values))
            elif joint.kind in _MOVING:
                turn = turn @ _about(joint.axis, float(next(values)))
            walk.append(_After(joint, axis, origin, turn, place))
        return walk


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in (*_MOVING, "fixed"):
        raise KinematicsError(f"joint {name} is {kind}; the chain may hold {', '.join(_MOVING)}")
    origin, axis, limit, mimic = map(element.find, ("origin", "axis", "limit", "mimic"))
    if mimic is not None:
        raise KinematicsError(
            f"joint {name} follows joint {mimic.get('joint')} (mimic) in robot_description; the "
            "chain may hold joints that move alone: set command.tool_frame to a link before it"
        )
    if limit is None and kind in ("revolute", "prismatic"):
        raise KinematicsError(
            f"joint {name} is {kind} and has no limit in robot_description; give its lower, upper "
            "and velocity, or call it continuous"
        )
    rpy = _triple(name, origin, "rpy", "0 0 0")
    direction = _triple(name, axis, "xyz", "1 0 0")
    if kind in _MOVING and not direction.any():
        raise KinematicsError(
            f"joint {name} has axis xyz='0 0 0' in robot_description; give the axis that it moves "
            "about or along"
        )
    quaternion = rpy_quaternion(rpy)
    bounded = limit is not None and kind != "continuous"
    return Joint(
        name,
        _attribute(element, "child", "link"),
        kind,
        np.stack([rotate(quaternion, unit) for unit in np.eye(3)], axis=1),
        _triple(name, origin, "xyz", "0 0 0"),
        direction / (np.linalg.norm(direction) or 1.0),
        _numbers(name, limit, "lower", "0", 1)[0] if bounded else -math.inf,
        _numbers(name, limit, "upper", "0", 1)[0] if bounded else math.inf,
        _speed(name, limit),
    )


def _speed(name: str, limit: ElementTree.Element | None) -> float:
    speed = _numbers(name, limit, "velocity", "inf", 1)[0]
    if not speed > 0.0:
        raise KinematicsError(
            f"joint {name} has limit velocity={speed} in robot_description; give what it can do, "
            "rad/s or m/s"
        )
    return speed


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Rotation matrix (3, 3), by Rodrigues' formula; once per joint and piece of a motion."""
    (x, y, z), sine, rest = axis.tolist(), math.sin(angle), 1.0 - math.cos(angle)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sine * cross + rest * (cross @ cross)


def _attribute(joint: ElementTree.Element, tag: str, name: str) -> str:
    found = joint.find(tag)
    return "" if found is None else found.get(name, "")


def _triple(
    joint: str, element: ElementTree.Element | None, name: str, default: str
) -> NDArray[np.float64]:
    return np.array(_numbers(joint, element, name, default, 3))


def _numbers(
    joint: str, element: ElementTree.Element | None, name: str, default: str, count: int
) -> list[float]:
    """An attribute of a joint's element, as so many numbers; infinite ones are no limit."""
    text = default if element is None else element.get(name, default)
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        values = []
    if len(values) != count or any(map(math.isnan, values)):
        raise KinematicsError(
            f"joint {joint} has {name}={text!r} in robot_description, must be {count} number(s) "
            "with blanks between; correct it"
        )
    return values
