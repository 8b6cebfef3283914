# SPDX-License-Identifier: Apache-2.0
"""Do a policy's statistics make sense as increments of an end effector's pose?

Statistics of the wrong kind load, and every action within them is finite and small enough: the
arm then creeps one way for ever, turns by degrees taken for radians, or never lets go. What they
look like instead is told from their ranges alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.json_fields import Fields

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "")

# What one action may be at most: 0.5 m and pi rad, at any control period, and a turn a second.
# openvla-7b's widest published statistics are 0.23 m and 0.59 rad at 3 Hz.
MOST_METRES, MOST_RADIANS, MOST_RADIANS_PER_S = 0.5, float(np.pi), 2.0 * float(np.pi)

# A range may miss 0 by this share of itself: its ends lie half a bin within the quantiles.
SLACK = 0.01
GRIPPER_SLACK = 0.1  # of its range of 1; recorded grippers overshoot it a little
SPREAD_SLACK = 0.02  # the same of what its mean and deviation tell

# Both ends of each convention; a reachable range may miss or overshoot them by a few bins.
GRIPPER_ENDS = {
    "one_is_open": (0.0, 1.0), "one_is_closed": (0.0, 1.0), "minus_one_is_open": (-1.0, 1.0),
}


class SenselessError(Exception):
    """What the statistics look like, and what to do."""


@dataclass(frozen=True)
class Reach:
    """What a policy can ask for. low, high: (7,), m, rad and gripper, each axis by itself while the
    others stand at the middle of their ranges."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, policy: Any) -> Reach:
        """Of a policy that can encode actions."""
        ends = np.array([
            [float(policy.decode_action(policy.encode_action(_alone(axis, end))).values[axis])
             for axis in range(DOF)]
            for end in (-1.0, 1.0)
        ])
        return cls(ends.min(axis=0), ends.max(axis=0))

    @property
    def most(self) -> NDArray[np.float64]:
        """(7,) the largest magnitudes."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def range(self, axis: int) -> str:
        unit = f" {UNITS[axis]}" if UNITS[axis] else ""
        return f"{AXES[axis]} runs from {self.low[axis]:.3g} to {self.high[axis]:.3g}{unit}"


def _alone(axis: int, end: float) -> NDArray[np.float64]:
    values = np.zeros(DOF)
    values[axis] = end
    return values


def check_size(reach: Reach, period_s: float) -> str:
    """Raise SenselessError for ranges in other units; else what they are."""
    metres, radians = float(reach.most[:3].max()), float(reach.most[3:6].max())
    if metres > MOST_METRES:
        looks = "millimetres" if metres > 5.0 else "absolute poses or a controller's inputs"
        raise SenselessError(
            f"one action may be {metres:.2f} m; this looks like {looks}; the statistics must be "
            "of increments in metres, or say action_units=osc_pose"
        )
    if radians > min(MOST_RADIANS, MOST_RADIANS_PER_S * period_s):
        raise SenselessError(
            f"one action of {period_s:.3g} s may turn by {radians:.2f} rad; this looks like "
            "degrees or absolute angles; the statistics must be of increments in radians"
        )
    if metres == 0.0:
        raise SenselessError("no action moves the arm at all; choose other statistics")
    return f"up to {1e3 * metres:.1f} mm and {radians:.3f} rad in one action"


def check_increments(reach: Reach) -> str:
    """Raise SenselessError for axes that cannot stand still or cannot move; else what was seen."""
    spans = reach.high - reach.low
    for axis in range(6):
        slack = SLACK * spans[axis]
        if spans[axis] > 0 and (reach.low[axis] > slack or reach.high[axis] < -slack):
            raise SenselessError(
                f"{reach.range(axis)}, never 0, so the arm cannot stand still; this looks like "
                "absolute poses; the statistics must be of increments"
            )
    still = [axis for axis in range(6) if spans[axis] == 0]
    if still == [3, 4, 5] and not reach.most[3:6].any():
        return "every axis can move either way, without rotation"  # as jaco_play
    if still:
        axis = still[0]
        value = reach.high[axis]
        effect = "moves by it at every step" if value else "cannot move"
        raise SenselessError(
            f"{AXES[axis]} is always {value:.3g} {UNITS[axis]} and {effect}; this looks like an "
            "axis that was not recorded or a column of something else; take statistics of all six "
            "axes"
        )
    return "every axis can move either way and stand still"


def check_gripper_statistics(action: Fields, convention: str) -> None:
    """Raise SenselessError for a gripper of other states than 1 = open, 0 = closed.

    action: the statistics in use, of one of OpenVLA's data sets. convention: of what is handed out.
    """
    lows = [action.numbers(name, DOF)[6] for name in ("q01", "min") if action.has(name)]
    highs = [action.numbers(name, DOF)[6] for name in ("q99", "max") if action.has(name)]
    if min(lows) < -GRIPPER_SLACK or max(highs) > 1.0 + GRIPPER_SLACK:
        looks = "-1 and 1, or three states" if min(lows) < -GRIPPER_SLACK else "a width or an angle"
        raise SenselessError(
            f"the gripper was recorded from {min(lows):.3g} to {max(highs):.3g}, and what is "
            f"beyond 0 = closed and 1 = open is cut off; this looks like {looks}; train with 0 "
            "and 1, as OpenVLA's data loader does"
        )
    if action.has("mean") and action.has("std"):
        mean, std = (action.numbers(name, DOF)[6] for name in ("mean", "std"))
        check_gripper_spread(mean, std, "one_is_open", convention)


def check_gripper_spread(mean: float, std: float, recorded: str, convention: str) -> None:
    """Raise SenselessError for a gripper that was not recorded between the two ends of the
    convention ``recorded``, or has more states than the ``convention`` of what is handed out.

    Between two ends std^2 <= (mean - low) (high - mean), by those that are at an end alone (Bhatia
    and Davis, 2000).
    """
    low, high = GRIPPER_ENDS[recorded]
    if std**2 > (mean - low + SPREAD_SLACK) * (high - mean + SPREAD_SLACK):
        raise SenselessError(
            f"the gripper was recorded at {mean:.2f} +- {std:.2f}, which is more than {recorded} "
            f"can have, from {low:g} to {high:g}; say by trained_gripper how it was recorded, or "
            "train with such a gripper"
        )
    if convention == "minus_one_is_open" and not in_two_states(mean, std, recorded):
        raise SenselessError(
            f"the gripper was recorded at {mean:.2f} +- {std:.2f}: it has more states than "
            "open and closed, which is all that minus_one_is_open has; choose one_is_open or "
            "one_is_closed"
        )


def in_two_states(mean: float, std: float, recorded: str) -> bool:
    """Whether a gripper was at either end of its convention nearly always."""
    low, high = GRIPPER_ENDS[recorded]
    return std**2 >= 0.8 * (mean - low) * (high - mean)
