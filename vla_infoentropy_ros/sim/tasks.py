# SPDX-License-Identifier: Apache-2.0
"""Tasks of the tabletop: which objects stand where, and what the instruction asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vla_infoentropy_ros.sim.scene import (
    CUBE_COLOURS,
    LAYOUT_HIGH,
    LAYOUT_LOW,
    PLATE_COLOURS,
)

EVALUATION_SEED = 1_000_000
"""Seeds from here on are kept for evaluation: training never draws a layout from them."""

PICK_PLACE = "pick_place"
_CUBES_IN_SCENE = 3
_PLATES_IN_SCENE = 2
_SPACING = {("cube", "cube"): 0.088, ("cube", "plate"): 0.098, ("plate", "plate"): 0.125}
_PATTERN = re.compile(r"^put the (\w+) cube on the (\w+) plate$")


@dataclass(frozen=True)
class Goal:
    """The cube to move and the plate to put it on, by colour."""

    cube: str
    plate: str

    def __post_init__(self) -> None:
        if self.cube not in CUBE_COLOURS:
            raise ValueError(f"cube = {self.cube!r}: must be one of {sorted(CUBE_COLOURS)}")
        if self.plate not in PLATE_COLOURS:
            raise ValueError(f"plate = {self.plate!r}: must be one of {sorted(PLATE_COLOURS)}")

    @property
    def instruction(self) -> str:
        """The goal as a sentence."""
        return f"put the {self.cube} cube on the {self.plate} plate"


def parse_instruction(instruction: str) -> Goal:
    """Return the goal that ``instruction`` states, or raise ``ValueError`` with the pattern."""
    match = _PATTERN.match(" ".join(instruction.lower().split()).rstrip("."))
    if match is None:
        raise ValueError(
            f"instruction = {instruction!r}: the tabletop understands 'put the <cube colour> cube "
            f"on the <plate colour> plate' with cubes {sorted(CUBE_COLOURS)} and plates "
            f"{sorted(PLATE_COLOURS)}"
        )
    return Goal(match.group(1), match.group(2))


@dataclass(frozen=True)
class Task:
    """One episode's task: ``instruction`` for ``layout`` of objects, reproducible from ``seed``."""

    instruction: str
    family: str
    seed: int
    cubes: tuple[str, ...]
    plates: tuple[str, ...]

    @property
    def goal(self) -> Goal:
        """The cube and the plate that the instruction names."""
        return parse_instruction(self.instruction)

    def valid_instructions(self) -> tuple[str, ...]:
        """Every instruction that this scene can carry out, six of them, in a fixed order."""
        return tuple(Goal(c, p).instruction for c in self.cubes for p in self.plates)

    def other_instructions(self) -> tuple[str, ...]:
        """The valid instructions that name neither the task's cube nor its plate."""
        goal = self.goal
        return tuple(
            Goal(c, p).instruction
            for c in self.cubes
            for p in self.plates
            if c != goal.cube and p != goal.plate
        )

    def in_a_row(self, count: int) -> tuple[str, ...]:
        """A long horizon: ``count`` instructions, each for the scene that those before it leave.

        A plate takes one cube, and a scene has two. So the task's cube goes to its plate, then to
        and fro, always to the plate that is empty; the last of several instructions takes another
        cube there. Raises ValueError for a count below 1.
        """
        if count < 1:
            raise ValueError(f"count = {count}: must be >= 1 instructions")
        goal = self.goal
        other_cube = next(cube for cube in self.cubes if cube != goal.cube)
        other_plate = next(plate for plate in self.plates if plate != goal.plate)
        plates = [(goal.plate, other_plate)[index % 2] for index in range(count)]
        cubes = [goal.cube] * max(count - 1, 1) + [other_cube]
        return tuple(Goal(c, p).instruction for c, p in zip(cubes, plates, strict=False))


@dataclass(frozen=True)
class Layout:
    """Start positions on the table, metres in the base frame: colour -> (x, y)."""

    cubes: dict[str, np.ndarray]
    plates: dict[str, np.ndarray]
    hand: np.ndarray  # (3,)


def sample_task(seed: int) -> tuple[Task, Layout]:
    """Draw the task and the layout that belong to ``seed``."""
    if seed < 0:
        raise ValueError(f"seed = {seed}: must be >= 0")
    rng = np.random.default_rng([seed, 0x7AB1E])
    cubes = tuple(str(c) for c in rng.permutation(list(CUBE_COLOURS))[:_CUBES_IN_SCENE])
    plates = tuple(str(p) for p in rng.permutation(list(PLATE_COLOURS))[:_PLATES_IN_SCENE])
    places = _sample_places(rng)
    goal = Goal(cubes[int(rng.integers(len(cubes)))], plates[int(rng.integers(len(plates)))])
    layout = Layout(
        plates=dict(zip(plates, places[:_PLATES_IN_SCENE], strict=True)),
        cubes=dict(zip(cubes, places[_PLATES_IN_SCENE:], strict=True)),
        hand=rng.uniform([0.38, -0.10, 0.14], [0.52, 0.10, 0.19]),
    )
    return Task(goal.instruction, PICK_PLACE, seed, cubes, plates), layout


def _spacing(one: str, other: str) -> float:
    return _SPACING[min(one, other), max(one, other)]


def _sample_places(rng: np.random.Generator) -> list[np.ndarray]:
    """Positions (x, y) of the plates, then of the cubes, far enough apart for the open fingers."""
    kinds = ["plate"] * _PLATES_IN_SCENE + ["cube"] * _CUBES_IN_SCENE
    while True:
        places: list[np.ndarray] = []
        for index, kind in enumerate(kinds):
            for _ in range(60):
                place = rng.uniform(LAYOUT_LOW, LAYOUT_HIGH)
                if all(
                    np.linalg.norm(place - other) >= _spacing(kind, other_kind)
                    for other, other_kind in zip(places, kinds, strict=False)
                ):
                    places.append(place)
                    break
            if len(places) == index:
                break
        if len(places) == len(kinds):
            return places
