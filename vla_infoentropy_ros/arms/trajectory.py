# SPDX-License-Identifier: Apache-2.0
"""What ros2_control's joint_trajectory_controller makes of a trajectory of joint positions.

After its rules (`joint_trajectory_controller` 4, Jazzy): which messages it refuses, that a newer
trajectory replaces the older one at once, that it interpolates linearly between positions and holds
the last one. Velocities and accelerations of points are not looked at: nothing here sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.text import UserError


class TrajectoryError(UserError, ValueError):
    """A trajectory that the controller refuses."""


@dataclass(frozen=True)
class Point:
    """positions: (n,) rad in the order of the message's joint names. time_ns: from its start."""

    positions: tuple[float, ...]
    time_ns: int


class TrajectoryController:
    """names: the joints, in the order of the positions that `positions` returns."""

    def __init__(self, names: tuple[str, ...], positions: NDArray[np.float64]) -> None:
        self._names = names
        self._times = np.zeros(1)
        self._values = positions[None]

    def follow(
        self, names: Sequence[str], points: Sequence[Point], stamp_ns: int, now_ns: int,
        here: NDArray[np.float64],
    ) -> None:
        """Take over a trajectory. stamp_ns: its start, 0 for now. here: (n,) rad, where it begins.

        Raises TrajectoryError; the older trajectory then goes on.
        """
        self._check(names, points)
        start_ns = stamp_ns or now_ns
        if start_ns + points[-1].time_ns < now_ns:
            late_s = (now_ns - start_ns - points[-1].time_ns) / 1e9
            raise TrajectoryError(
                f"refused: the trajectory ended {late_s:.3f} s ago; check clocks and use_sim_time"
            )
        order = [list(names).index(name) for name in self._names]
        values = np.array([point.positions for point in points], dtype=np.float64)[:, order]
        times = np.array([start_ns + point.time_ns for point in points], dtype=np.float64)
        self._times = np.concatenate([[min(now_ns, times[0])], times])
        self._values = np.concatenate([here[None], values])

    def _check(self, names: Sequence[str], points: Sequence[Point]) -> None:
        if sorted(names) != sorted(self._names):
            raise TrajectoryError(
                f"refused: joints {', '.join(names) or '(none)'}, not those of the controller: "
                f"{', '.join(self._names)}"
            )
        if not points:
            raise TrajectoryError("refused: a trajectory without points")
        before_ns = -1
        for number, point in enumerate(points):
            if len(point.positions) != len(names) or not np.isfinite(point.positions).all():
                raise TrajectoryError(
                    f"refused: point {number} needs a finite position of each of its joints"
                )
            if point.time_ns <= before_ns:
                raise TrajectoryError(f"refused: point {number} is not later than the one before")
            before_ns = point.time_ns

    def positions(self, now_ns: int) -> NDArray[np.float64]:
        """Where the joints shall be now, (n,) rad."""
        index = int(np.searchsorted(self._times, now_ns, side="right"))
        if index == 0:
            return self._values[0]
        if index == len(self._times):
            return self._values[-1]
        before, after = self._times[index - 1], self._times[index]
        share = (now_ns - before) / (after - before)
        value: NDArray[np.float64] = self._values[index - 1] + share * (
            self._values[index] - self._values[index - 1]
        )
        return value
