# SPDX-License-Identifier: Apache-2.0
"""The set point of the gantry that carries the hand: in MuJoCo, and in Gazebo."""

from __future__ import annotations

import numpy as np

from vla_infoentropy_ros.sim.expert import MAX_STEP, MAX_TURN
from vla_infoentropy_ros.sim.scene import WORKSPACE_HIGH, WORKSPACE_LOW

CONTROL_PERIOD = 0.2
"""Seconds of one control step (5 Hz)."""
FASTEST = np.array([MAX_STEP] * 3 + [MAX_TURN]) / CONTROL_PERIOD
"""Of x, y, z and yaw, m/s and rad/s: what one control step allows."""
_WINDUP = 0.02


def advance(goal: np.ndarray, travel: np.ndarray, position: np.ndarray) -> None:
    """Move the set point ``goal`` (4,) of x, y, z, yaw, m and rad, by ``travel`` (4,), in place.

    position: (3,) m, where the hand is. The set point stays inside the workspace, and a blocked
    hand winds up none that it would leap to once it comes free.
    """
    goal += travel
    place = goal[:3]  # a view
    np.maximum(place, position - _WINDUP, out=place)
    np.minimum(place, position + _WINDUP, out=place)
    np.maximum(place, WORKSPACE_LOW, out=place)
    np.minimum(place, WORKSPACE_HIGH, out=place)
