# SPDX-License-Identifier: Apache-2.0
"""What is answered: the policy's own numbers, or the inputs of a benchmark's controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import gripper_opening, rotation_vector
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.models.adapter import Action, ActionConvention
from vla_infoentropy_ros.models.conventions import OSC_POSE_SCALE

FORMS = ("policy", "osc_pose")
OSC_POSE_PERIOD_S = 0.05

_ROTATIONS = {"rpy": "euler_xyz", "axis_angle": "axis_angle"}
_GRIPPERS = {
    "one_is_open": "continuous_01",
    "minus_one_is_open": "binary_close_positive",
    "one_is_closed": "binary_close_01",
}


class ActionFormError(UserError, ValueError):
    """A policy's actions do not fit what shall be answered; the message says which part."""


@dataclass(frozen=True)
class ActionForm:
    """Writes actions (7,). Raises ActionFormError where the policy's do not fit.

    name "policy": metres, radians and gripper as ``convention`` has them. "osc_pose": inputs in
    [-1, 1] of robosuite's OSC_POSE controller at 20 Hz, rotation as a vector, gripper 1 to close:
    what LIBERO takes.
    """

    name: str
    convention: ActionConvention

    def __post_init__(self) -> None:
        if self.name not in FORMS:
            raise ActionFormError(f"actions={self.name!r} is not among {', '.join(FORMS)}")
        if self.name == "policy":
            return
        convention, hint = self.convention, "serve another policy, or with --actions policy"
        if convention.frame != "base":
            raise ActionFormError(
                f"the policy moves in the frame {convention.frame!r}, the controller OSC_POSE in "
                f"the base's; {hint}"
            )
        if abs(convention.control_period_s - OSC_POSE_PERIOD_S) > 1e-6:
            raise ActionFormError(
                f"the policy's actions last {convention.control_period_s:g} s, a step of the "
                f"controller OSC_POSE {OSC_POSE_PERIOD_S:g} s; {hint}"
            )

    def write(self, action: Action) -> NDArray[np.float64]:
        """The seven numbers that are sent."""
        values = np.array(action.values, dtype=np.float64)
        if self.name == "policy":
            return values
        values[3:6] = rotation_vector(values[3:6], self.convention.rotation)
        values[:6] = np.clip(values[:6] / OSC_POSE_SCALE, -1.0, 1.0)
        opening = gripper_opening(values[6], self.convention.gripper)
        values[6] = -1.0 if opening >= 0.5 else 1.0
        return values

    def description(self) -> dict[str, dict[str, Any]]:
        """The three parts, in the words of vla-eval's specifications."""
        if self.name == "osc_pose":
            rotation, gripper = "axis_angle", "binary_close_positive"
        else:
            rotation = _ROTATIONS[self.convention.rotation]
            gripper = _GRIPPERS[self.convention.gripper]
        return {
            "position": {"name": "position", "dims": 3, "format": "delta_xyz"},
            "rotation": {"name": "rotation", "dims": 3, "format": rotation},
            "gripper": {"name": "gripper", "dims": 1, "format": gripper},
        }
