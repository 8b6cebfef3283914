# SPDX-License-Identifier: Apache-2.0
"""The robot's own state (proprioception) as a policy takes it: so many numbers, normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError


@dataclass(frozen=True)
class Proprioception:
    """What a step of a policy needs of the robot.

    offset, scale: (S,) of the training set, in its own units: the policy takes
    ``(value - offset) / scale``.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.offset.ndim != 1 or self.offset.shape != self.scale.shape or not self.offset.size:
            raise PolicyError(
                f"state statistics of shapes {self.offset.shape} and {self.scale.shape}: must be "
                "two lists of one length"
            )
        finite = np.isfinite(self.offset).all() and np.isfinite(self.scale).all()
        if not finite or not (self.scale > 0.0).all():
            raise PolicyError("state statistics must be finite, and their scale above 0")

    @property
    def size(self) -> int:
        return int(self.offset.shape[0])

    def normalise(self, state: ArrayLike | None) -> torch.Tensor:
        """(S,) in the training set's units to (S,) float32. Raises PolicyError for none, another
        number of values or values that are not finite."""
        if state is None:
            raise PolicyError(
                f"this policy needs the robot's state, {self.size} numbers, and none was given; "
                "set state.source and publish what it names"
            )
        try:
            values = np.asarray(state, dtype=np.float64)
        except (TypeError, ValueError) as error:  # texts, lists of different lengths
            raise PolicyError(
                f"robot state {shown(state)}: must be {self.size} numbers"
            ) from error
        if values.shape != self.offset.shape:
            raise PolicyError(
                f"a robot state of shape {values.shape} was given, the checkpoint was trained with "
                f"{self.size} numbers; choose the joints or the pose that it was trained with "
                "(state.source, state.joints)"
            )
        if not np.isfinite(values).all():
            raise PolicyError(f"robot state {values.tolist()}: must be finite numbers")
        return torch.from_numpy((values - self.offset) / self.scale).to(torch.float32)
