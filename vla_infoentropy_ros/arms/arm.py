# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm: joints, and whichever controller commands them; carries the tabletop's hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.arms.models import ArmModel, tip_yaw
from vla_infoentropy_ros.arms.servo import Servo, ServoMotion, ServoSettings, ServoStatus
from vla_infoentropy_ros.arms.trajectory import Point, TrajectoryController


class StandInArm:
    """positions: (n,) rad. motion: what Servo last answered.

    ``output`` as in `command.output`: twist = behind Servo, trajectory = behind
    joint_trajectory_controller.
    """

    def __init__(self, model: ArmModel, output: str, settings: ServoSettings | None = None) -> None:
        self.model, self.output = model, output
        self.servo = Servo(model.chain, settings or ServoSettings())
        self.positions = np.array(model.ready)
        self.motion = ServoMotion(np.zeros(len(self.positions)))
        self._controller = TrajectoryController(model.chain.names, self.positions)
        self._limits = np.array([joint.speed for joint in model.chain.movable])
        self._low = np.array([joint.lower for joint in model.chain.movable])
        self._high = np.array([joint.upper for joint in model.chain.movable])

    def place(self, position: NDArray[np.float64], yaw: float = 0.0) -> None:
        """Put the tip there at once, hand down, and stand: for the begin of an episode."""
        self.positions = self.model.reach(position, yaw)
        self._controller = TrajectoryController(self.model.chain.names, self.positions)

    def follow(
        self, names: Sequence[str], points: Sequence[Point], stamp_ns: int, now_ns: int
    ) -> None:
        """A trajectory; raises TrajectoryError."""
        self._controller.follow(names, points, stamp_ns, now_ns, self.positions)

    def frames(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Rotation (3, 3) and position (3,) m of each link of the chain in the base frame."""
        return self.model.chain.links(self.positions)

    @property
    def tip(self) -> tuple[NDArray[np.float64], float]:
        """Position (3,) m in the base frame, and yaw, rad."""
        turn, place = self.model.chain.forward(self.positions)
        return place, tip_yaw(turn)

    def advance(self, now_ns: int, period_s: float) -> None:
        """Move for one period that ends now."""
        if self.output == "trajectory":
            wanted = self._controller.positions(now_ns) - self.positions
            step = np.clip(wanted, -self._limits * period_s, self._limits * period_s)
        else:
            turns = {name: turn for name, (turn, _) in self.frames().items()}
            self.motion = self.servo.motion(self.positions, turns, now_ns)
            step = self.motion.speeds * period_s
        self.positions = np.clip(self.positions + step, self._low, self._high)

    @property
    def problem(self) -> str:
        """Why it does not move as it is told; empty where it does."""
        return "" if self.motion.status is ServoStatus.NO_WARNING else self.motion.reason
