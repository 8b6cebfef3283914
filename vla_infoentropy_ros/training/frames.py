# SPDX-License-Identifier: Apache-2.0
"""Training pictures with everything that supervision needs, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.sim.expert import expert_action
from vla_infoentropy_ros.sim.scene import CUBE_COLOURS, PLATE_COLOURS, PLATE_HEIGHT, Camera
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.sim.tasks import Goal

CUBES = tuple(CUBE_COLOURS)
PLATES = tuple(PLATE_COLOURS)
POINTS = len(CUBES) + len(PLATES) + 2  # cubes, plates, hand, shadow under the hand
GOALS = 6


@dataclass
class Frames:
    """N pictures. Lengths in metres, base frame; NaN where the scene lacks the object.

    images (N, H, W, 3) uint8; points (N, 10, 3): cubes, plates, hand, shadow; held (N, 4) bool;
    goals (N, 6, 2) uint8: indices of cube and plate; labels (N, 6, 7): the expert's action.
    """

    images: NDArray[np.uint8]
    points: NDArray[np.float32]
    held: NDArray[np.bool_]
    goals: NDArray[np.uint8]
    labels: NDArray[np.float32]

    @classmethod
    def empty(cls, count: int, size: int) -> Frames:
        """Room for ``count`` pictures of ``size`` x ``size`` pixels."""
        return cls(
            images=np.empty((count, size, size, 3), np.uint8),
            points=np.full((count, POINTS, 3), np.nan, np.float32),
            held=np.zeros((count, len(CUBES)), np.bool_),
            goals=np.zeros((count, GOALS, 2), np.uint8),
            labels=np.zeros((count, GOALS, 7), np.float32),
        )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: slice | NDArray[np.int64]) -> Frames:
        """The pictures at ``index``."""
        return Frames(*(getattr(self, item.name)[index] for item in fields(self)))

    def put(self, start: int, other: Frames) -> None:
        """Overwrite the pictures from ``start`` on."""
        for item in fields(self):
            getattr(self, item.name)[start : start + len(other)] = getattr(other, item.name)

    def record(self, index: int, env: Tabletop, image: NDArray[np.uint8]) -> None:
        """Store ``image`` and the simulator's state, with one label for every valid goal."""
        state, task = env.state, env.task
        self.images[index] = image
        points = self.points[index]
        points[:] = np.nan
        for colour, place in state.cubes.items():
            points[CUBES.index(colour)] = place
        for colour, spot in state.plates.items():
            points[len(CUBES) + PLATES.index(colour)] = [*spot, PLATE_HEIGHT]
        points[-2] = state.hand
        points[-1] = [*state.hand[:2], 0.0]
        self.held[index] = [c in state.cubes and state.holds(c) for c in CUBES]
        pairs = [(c, p) for c in task.cubes for p in task.plates]
        for slot, (cube, plate) in enumerate(pairs):
            self.goals[index, slot] = CUBES.index(cube), PLATES.index(plate)
            self.labels[index, slot] = expert_action(state, Goal(cube, plate))


def patch_coordinates(frames: Frames, camera: Camera, size: int, patch: int) -> NDArray[np.float32]:
    """Where the points appear, (N, 10, 2) = (column, row) in patches; NaN where absent."""
    flat = frames.points.astype(np.float64)
    return (camera.project(flat, size) / patch).astype(np.float32)
