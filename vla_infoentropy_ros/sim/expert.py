# SPDX-License-Identifier: Apache-2.0
"""The expert: a stateless feedback law from (state, goal) to one control step's action.

Stateless on purpose: any picture can be labelled with every instruction that is valid for it,
and states that a learner drives itself into (DAgger) are labelled for free.
Height targets are funnels (height grows with the horizontal distance still to go) and not
phases: a law with phases holds still on some axes for many steps, and a policy trained on labels
that are exactly zero in bulk learns to stand still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_infoentropy_ros.sim.scene import CUBE_HALF, PLATE_HEIGHT
from vla_infoentropy_ros.sim.tasks import Goal

MAX_STEP = 0.035
"""Largest translation per axis in one control step, metres."""
MAX_TURN = 0.25
"""Largest rotation per axis in one control step, radians."""

GRASP_Z = CUBE_HALF
PLACE_Z = CUBE_HALF + PLATE_HEIGHT + 0.006
_HOVER_Z = 0.105
_RETREAT_Z = 0.16
_SLOPE = 2.0
_FUNNEL_FLOOR = 0.008
_GAIN = 0.8
_NEAR = np.array([0.009, 0.009, 0.010])
_SNUG = CUBE_HALF + 0.005


@dataclass(frozen=True)
class TabletopState:
    """What the simulator knows; metres, base frame. ``gap`` is half the fingers' opening."""

    hand: np.ndarray  # (3,) grasp centre between the fingers
    gap: float
    cubes: dict[str, np.ndarray]  # colour -> (3,) centre
    plates: dict[str, np.ndarray]  # colour -> (2,)
    yaw: float = 0.0

    def holds(self, cube: str) -> bool:
        """Whether ``cube`` sits between fingers that are closed on it."""
        offset = np.abs(self.cubes[cube] - self.hand)
        return bool(self.gap < _SNUG and offset[0] < 0.018 and offset[1] < 0.012
                    and offset[2] < 0.018)

    def placed(self, goal: Goal) -> bool:
        """Whether the goal's cube rests on the goal's plate and is let go."""
        cube = self.cubes[goal.cube]
        distance = np.linalg.norm(cube[:2] - self.plates[goal.plate])
        resting = abs(cube[2] - PLATE_HEIGHT - CUBE_HALF) < 0.008
        return bool(distance < 0.045 and resting and not self.holds(goal.cube))


def expert_action(state: TabletopState, goal: Goal) -> np.ndarray:
    """Action (7,) of one control step: metres, radians, gripper (1 = open)."""
    if goal.cube not in state.cubes or goal.plate not in state.plates:
        raise ValueError(
            f"goal = {goal.instruction!r}: the scene has cubes {sorted(state.cubes)} and plates "
            f"{sorted(state.plates)}"
        )
    cube = state.cubes[goal.cube]
    if state.holds(goal.cube):
        target, floor = state.plates[goal.plate], PLACE_Z
        done_gripper, moving_gripper = 1.0, 0.0
    elif state.placed(goal):
        rise = np.array([0.0, 0.0, _GAIN * (_RETREAT_Z - state.hand[2])])
        return _action(rise, 1.0)
    else:
        target, floor = cube[:2], max(GRASP_Z, float(cube[2]))
        done_gripper, moving_gripper = 0.0, 1.0

    offset = target - state.hand[:2]
    distance = float(np.linalg.norm(offset))
    height = floor + min(_SLOPE * max(distance - _FUNNEL_FLOOR, 0.0), _HOVER_Z - GRASP_Z)
    lift = height - float(state.hand[2])
    # Low and far away: rise first, or the fingers would sweep the other cubes off their places.
    slow_down = float(np.clip(1.0 - (lift - 0.01) / 0.05, 0.15, 1.0))
    move = _GAIN * np.array([offset[0], offset[1], lift])
    move[:2] = np.clip(move[:2], -MAX_STEP, MAX_STEP) * slow_down
    near = bool(np.all(np.abs([offset[0], offset[1], lift]) < _NEAR))
    return _action(move, done_gripper if near else moving_gripper)


def _action(move: np.ndarray, gripper: float) -> np.ndarray:
    action = np.zeros(7)
    action[:3] = np.clip(move, -MAX_STEP, MAX_STEP)
    action[6] = gripper
    return action
