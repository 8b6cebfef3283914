# SPDX-License-Identifier: Apache-2.0
"""From a normalised chunk to metres, radians and a gripper command.

No LeRobot checkpoint says what its numbers mean, and most are joint angles. So whoever loads one
says that they are increments of the end effector, and in which units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import Action, ActionConvention, PolicyError
from vla_infoentropy_ros.models.conventions import (
    OSC_POSE_SCALE,
    convert_gripper,
    convert_rotation,
)
from vla_infoentropy_ros.models.datasets import (
    TrainingConventions,
    assumptions,
    conventions_for,
)
from vla_infoentropy_ros.models.lerobot.statistics import Scaling
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.motion_sense import GRIPPER_ENDS, in_two_states

NORM_KEY = "action"  # the statistics that a LeRobot checkpoint has, and its only ones


@dataclass(frozen=True)
class ChunkUnits:
    """What the numbers of a chunk mean. size: numbers per action of the network, padding included.
    gripper: how training recorded it."""

    scaling: Scaling
    size: int
    trained: TrainingConventions
    gripper: str
    convention: ActionConvention
    assumed: str = ""

    @classmethod
    def of(cls, scaling: Scaling, size: int, options: LoadOptions) -> ChunkUnits:
        """By what the options say of the training set. Raises PolicyError where they do not say
        that its actions are increments at all."""
        if options.unnorm_key not in ("", NORM_KEY):
            raise PolicyError(
                f"unnorm_key={options.unnorm_key!r}: this checkpoint has only the statistics of "
                f"its own training, {NORM_KEY!r}; leave it empty"
            )
        if not options.action_units:
            raise PolicyError(
                "action_units is required: the checkpoint does not say what its 7 numbers are. If "
                "they are increments of the end effector, set it to si (m, rad) or osc_pose "
                "(robosuite's inputs, as in LIBERO); joint angles of an arm of seven joints cannot "
                "be driven here, which would take a command of joint positions in control/"
            )
        trained = conventions_for(NORM_KEY, options)
        osc_pose = options.action_units == "osc_pose"
        convention = ActionConvention(
            rotation=options.rotation or "rpy", gripper=options.gripper or "one_is_open",
            frame="base", control_period_s=trained.control_period_s,
        )
        recorded = options.trained_gripper or ("minus_one_is_open" if osc_pose else "one_is_open")
        return cls(scaling, size, trained, recorded, convention, assumptions(NORM_KEY, options))

    def action(self, decided: Sequence[float]) -> Action:
        """A chunk (H * size,), normalised, to an `Action` in m, rad and the gripper convention."""
        rows = np.asarray(decided, dtype=np.float64).reshape(-1, self.size)[:, :DOF]
        chunk = np.stack([self._in_robot_units(row) for row in self.scaling.unnormalise(rows)])
        return Action(values=chunk[0], normalised=rows[0], chunk=chunk)

    def encode(self, shares: NDArray[np.float64], horizon: int) -> list[float]:
        """The chunk that holds an action throughout: shares (7,) of what training saw, -1 its
        lowest and 1 its highest values; of a gripper in two states that are not told, those of its
        convention."""
        low, high = self.scaling.low.copy(), self.scaling.high.copy()
        mean, std = float(self.scaling.offset[-1]), float(self.scaling.scale[-1])
        if self.scaling.guessed and in_two_states(mean, std, self.gripper):
            # Three deviations of one that is closed for all but a moment do not reach its ends.
            low[-1], high[-1] = GRIPPER_ENDS[self.gripper]
        values = (high + low) / 2.0 + shares * (high - low) / 2.0
        rows = np.zeros((horizon, self.size))
        rows[:, :DOF] = self.scaling.normalise(values)
        flat: list[float] = rows.flatten().tolist()
        return flat

    def _in_robot_units(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        values = values.copy()
        if self.trained.units == "osc_pose":  # the controller cuts off what is beyond
            values[:6] = np.clip(values[:6], -1.0, 1.0) * OSC_POSE_SCALE
        values[3:6] = convert_rotation(values[3:6], self.trained.rotation, self.convention.rotation)
        values[6] = convert_gripper(_opening(values[6], self.gripper), self.convention.gripper)
        return values


def _opening(value: float, recorded: str) -> float:
    """0 closed to 1 open."""
    if recorded == "minus_one_is_open":
        return (1.0 - value) / 2.0
    return 1.0 - value if recorded == "one_is_closed" else value
