# SPDX-License-Identifier: Apache-2.0
"""Tasks: drawn from seeds, stated as sentences."""

import numpy as np
import pytest

from vla_infoentropy_ros.sim.scene import (
    CUBE_COLOURS,
    FINGER_OPEN,
    LAYOUT_HIGH,
    LAYOUT_LOW,
    PLATE_COLOURS,
    PLATE_RADIUS,
    Camera,
)
from vla_infoentropy_ros.sim.tasks import Goal, parse_instruction, sample_task


@pytest.mark.parametrize("cube", CUBE_COLOURS)
@pytest.mark.parametrize("plate", PLATE_COLOURS)
def test_instruction_and_goal_are_inverse(cube: str, plate: str) -> None:
    goal = Goal(cube, plate)
    assert parse_instruction(goal.instruction) == goal
    assert parse_instruction(f"  {goal.instruction.upper()}. ") == goal


@pytest.mark.parametrize("text", ["", "put the red cube", "put the pink cube on the white plate"])
def test_other_sentences_are_refused_with_the_colours_known(text: str) -> None:
    with pytest.raises(ValueError, match=r"red.*white|blue.*red"):
        parse_instruction(text)


def test_layouts_leave_room_for_the_fingers() -> None:
    for seed in range(200):
        task, layout = sample_task(seed)
        assert len(task.cubes) == 3 and len(task.plates) == 2
        assert len(set(task.valid_instructions())) == 6
        assert task.instruction in task.valid_instructions()
        cubes = list(layout.cubes.values())
        plates = list(layout.plates.values())
        for place in cubes + plates:
            assert np.all(place >= LAYOUT_LOW) and np.all(place <= LAYOUT_HIGH)
        for index, cube in enumerate(cubes):
            others = cubes[:index] + cubes[index + 1 :]
            assert min(np.linalg.norm(cube - other) for other in others) > 2 * FINGER_OPEN
            assert min(np.linalg.norm(cube - plate) for plate in plates) > PLATE_RADIUS + 0.03


def test_other_instructions_share_neither_cube_nor_plate() -> None:
    task, _ = sample_task(3)
    others = task.other_instructions()
    assert len(others) == 2
    for text in others:
        goal = parse_instruction(text)
        assert goal.cube != task.goal.cube and goal.plate != task.goal.plate


def test_a_long_horizon_takes_each_cube_to_the_plate_that_is_empty() -> None:
    for seed in range(50):
        task, _ = sample_task(seed)
        for count in (1, 2, 3):
            texts = task.in_a_row(count)
            assert len(texts) == count and set(texts) <= set(task.valid_instructions())
            assert texts[0] == task.instruction and texts == sample_task(seed)[0].in_a_row(count)
            on = dict.fromkeys(task.plates, "")  # plate: cube
            for goal in map(parse_instruction, texts):
                assert on[goal.plate] == ""
                on = {plate: "" if cube == goal.cube else cube for plate, cube in on.items()}
                on[goal.plate] = goal.cube
            assert len({parse_instruction(text).cube for text in texts}) == min(count, 2)
    with pytest.raises(ValueError, match="count = 0"):
        task.in_a_row(0)


def test_seeds_decide_everything() -> None:
    assert sample_task(5)[0] == sample_task(5)[0]
    assert len({sample_task(seed)[0].instruction for seed in range(100)}) == 16
    with pytest.raises(ValueError, match="seed = -1"):
        sample_task(-1)


def test_camera_projection_is_a_pinhole() -> None:
    camera = Camera()
    centre = camera.project(np.array(camera.target), 224)
    np.testing.assert_allclose(centre, [112, 112], atol=1e-9)
    left = camera.project(np.array([0.45, 0.1, 0.0]), 224)
    right = camera.project(np.array([0.45, -0.1, 0.0]), 224)
    # The camera faces the robot, so the robot's left is on the picture's left only if mirrored.
    assert right[0] < 112 < left[0] or left[0] < 112 < right[0]
    np.testing.assert_allclose(left[0] - 112, 112 - right[0], atol=1e-9)
    high = camera.project(np.array([0.45, 0.0, 0.1]), 224)
    low = camera.project(np.array([0.45, 0.0, 0.0]), 224)
    assert high[1] < low[1]


def test_camera_refuses_impossible_settings() -> None:
    with pytest.raises(ValueError, match="fovy = 0"):
        Camera(fovy=0)
    with pytest.raises(ValueError, match="straight down"):
        Camera(position=(0.4, 0.0, 1.0), target=(0.4, 0.0, 0.0))
