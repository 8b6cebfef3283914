# SPDX-License-Identifier: Apache-2.0
"""Whether an arm can be where it is heard, by where it was heard before.

A driver that restarts tells zeros for a moment, and another arm's joints may be heard: a goal, or a
stop, that is reckoned from there would leap with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.kinematics import Joint
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.robot_state import Heard, Pose

SAG, SAG_TURN = 0.02, 0.1  # m, rad: how far a hand may be from where it should be


class Place(Protocol):
    """Where an arm was heard, and when."""

    def leap_from(self, before: Any) -> str:
        """before: a place of the same kind. Why an arm that was there cannot be here, one sentence;
        "" where it can."""


Where = TypeVar("Where", bound=Place)


class Continuity(Generic[Where]):
    """The place that was believed last. To be asked in every turn: the longer ago that was, the
    further an arm can have gone."""

    def __init__(self) -> None:
        self._last: Where | None = None
        self.forgotten = False

    def forget(self) -> None:
        """Somebody may have brought the arm elsewhere: the next command may begin anywhere. A stop
        that is in progress still goes by what was believed."""
        self.forgotten = True

    def begin(self) -> None:
        """A command begins."""
        if self.forgotten:
            self._last, self.forgotten = None, False

    def leap(self, here: Where) -> str:
        """Why the arm cannot be there, one sentence; "" where it can, which is believed."""
        told = "" if self._last is None else here.leap_from(self._last)
        if not told:
            self._last = here
        return told


@dataclass(frozen=True)
class HandAt:
    """settings: how far an action, and its speed, can have taken the hand."""

    pose: Pose
    heard: Heard
    settings: CommandSettings

    def leap_from(self, before: HandAt) -> str:
        settings, for_s = self.settings, self.heard.since_s(before.heard)
        way, turn = before.pose.apart(self.pose)
        if (way <= SAG + settings.max_step_translation + settings.max_linear_speed * for_s
                and turn <= SAG_TURN + settings.max_step_rotation
                + settings.max_angular_speed * for_s):
            return ""
        return _told("the pose of the hand", f"{way:.3f} m and {turn:.2f} rad", for_s)


@dataclass(frozen=True)
class JointsAt:
    """positions: (n,) rad or m. heard: of each, for two drivers may tell them."""

    joints: tuple[Joint, ...]
    positions: NDArray[np.float64]
    heard: Sequence[Heard]

    def leap_from(self, before: JointsAt) -> str:
        if [joint.name for joint in before.joints] != [joint.name for joint in self.joints]:
            return ""
        for joint, was, then, now, at in zip(self.joints, before.positions, before.heard,
                                             self.positions, self.heard, strict=True):
            way, for_s = abs(now - was), at.since_s(then)
            if joint.kind == "continuous":  # may be told within one turn
                way = abs(math.remainder(way, 2.0 * math.pi))
            slack, unit = (SAG, "m") if joint.kind == "prismatic" else (SAG_TURN, "rad")
            if way > slack + joint.speed * for_s:
                return _told(f"joint {joint.name}", f"{way:.3f} {unit}", for_s)
        return ""


def _told(what: str, way: str, for_s: float) -> str:
    return (f"{what} was heard {way} from where it was {1e3 * for_s:.0f} ms before, further than "
            "it can go: look for a second publisher, a driver that restarts, or another arm's "
            "state")
