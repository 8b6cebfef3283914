# SPDX-License-Identifier: Apache-2.0
"""Limits on what a policy may ask of an arm: step, speed, acceleration, workspace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.settings import CommandSettings

_PARTS = ((slice(0, 3), "linear"), (slice(3, 6), "angular"))
_SLACK = 1e-9  # so that rounding alone never counts as limited


@dataclass(frozen=True)
class Limited:
    """A twist (6,) m/s, rad/s that keeps to all limits, and the names of those that acted."""

    twist: NDArray[np.float64]
    by: tuple[str, ...]


def limit_twist(
    wanted: NDArray[np.float64],
    previous: NDArray[np.float64],
    period_s: float,
    settings: CommandSettings,
) -> Limited:
    """Bring a wanted velocity within the limits of step, speed and acceleration.

    wanted, previous: (6,) m/s, rad/s in one frame, this action's and the one commanded before it.
    Speeds are scaled as vectors, so the direction of motion is kept.
    """
    slow = limit_speed(wanted, period_s, settings)
    reached = approach(slow.twist, previous, period_s, settings)
    return Limited(reached.twist, (*slow.by, *reached.by))


def limit_speed(
    wanted: NDArray[np.float64], period_s: float, settings: CommandSettings
) -> Limited:
    """A velocity (6,) within the limits of speed, and of one action's step over ``period_s``."""
    names: list[str] = []
    twist = np.empty(6)
    for part, kind in _PARTS:
        step = settings.max_step_translation if kind == "linear" else settings.max_step_rotation
        velocity, acted = _shorten(wanted[part], step / period_s)
        names += [f"{kind}_step"] * acted
        twist[part], acted = _shorten(velocity, getattr(settings, f"max_{kind}_speed"))
        names += [f"{kind}_speed"] * acted
    return Limited(twist, tuple(names))


def approach(
    wanted: NDArray[np.float64],
    previous: NDArray[np.float64],
    within_s: float,
    settings: CommandSettings,
) -> Limited:
    """As near to a wanted velocity (6,) as the acceleration limits allow after ``within_s``.

    They bound what is added to a velocity, never what is taken from it: braking along the way it
    goes is immediate, down to standing still, whatever the limits.
    """
    names: list[str] = []
    twist = wanted.copy()
    for part, kind in _PARTS:
        change = getattr(settings, f"max_{kind}_acceleration") * within_s
        braked = _braked(previous[part], wanted[part])
        difference, acted = _shorten(wanted[part] - braked, change)
        if acted:
            twist[part] = braked + difference
            names.append(f"{kind}_acceleration")
    return Limited(twist, tuple(names))


def _braked(
    previous: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The previous velocity (3,), shortened to what comes nearest to the wanted one."""
    square = float(previous @ previous)
    if square == 0.0:
        return previous
    return previous * min(1.0, max(0.0, float(previous @ wanted) / square))


def _shorten(vector: NDArray[np.float64], longest: float) -> tuple[NDArray[np.float64], bool]:
    length = float(np.linalg.norm(vector))
    if length <= longest + _SLACK:
        return vector, False
    return vector * (longest / length), True


def keep_inside(
    velocity: NDArray[np.float64],
    position: NDArray[np.float64],
    settings: CommandSettings,
    hold_s: float,
    gone: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Clip each axis so that the hand cannot leave the workspace while the command is held.

    velocity: (3,) m/s, position: (3,) m, both in the base frame. gone: (3,) m, how far the hand
    may have come since. Axis by axis, so that a hand at a wall still slides along it; a hand
    outside may stay or come back, never go further.
    """
    highest, lowest = position + np.maximum(gone, 0.0), position + np.minimum(gone, 0.0)
    room_up = np.maximum(np.array(settings.workspace_high) - highest, 0.0) / hold_s
    room_down = np.minimum(np.array(settings.workspace_low) - lowest, 0.0) / hold_s
    return np.clip(velocity, room_down, room_up)
