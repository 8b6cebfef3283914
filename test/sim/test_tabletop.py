# SPDX-License-Identifier: Apache-2.0
"""The simulator: repeatable, honest about success, and driven in the units it states."""

from collections.abc import Iterator

import numpy as np
import pytest

from vla_infoentropy_ros.sim import EVALUATION_SEED, Tabletop, rollout
from vla_infoentropy_ros.sim.expert import MAX_STEP, TabletopState, expert_action
from vla_infoentropy_ros.sim.gl import RenderBackendError, choose_backend
from vla_infoentropy_ros.sim.scene import CUBE_COLOURS
from vla_infoentropy_ros.sim.tasks import Goal


@pytest.fixture(scope="module")
def env() -> Iterator[Tabletop]:
    with Tabletop() as simulator:
        yield simulator


def test_equal_seeds_give_equal_episodes(env: Tabletop) -> None:
    pictures, hands = [], []
    for _ in range(2):
        env.reset(11)
        for _ in range(6):
            env.step(env.expert())
        pictures.append(env.render())
        hands.append(env.state.hand)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(hands[0], hands[1])


def test_picture(env: Tabletop) -> None:
    env.reset(1)
    image = env.render()
    assert image.shape == (224, 224, 3) and image.dtype == np.uint8
    env.step(env.expert())
    assert not np.array_equal(image, env.render())


def test_objects_appear_where_the_camera_model_says(env: Tabletop) -> None:
    task = env.reset(2)
    env.place_hand(np.array([0.28, 0.0, 0.24]))
    image = env.render().astype(float) / 255
    for colour in task.cubes:
        column, row = env.camera.project(env.state.cubes[colour], env.image_size)
        pixel = image[int(row), int(column)]
        direction = np.asarray(CUBE_COLOURS[colour])
        cosine = pixel @ direction / np.linalg.norm(pixel) / np.linalg.norm(direction)
        assert cosine > 0.98, colour


def test_expert_solves_every_valid_instruction(env: Tabletop) -> None:
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + 3):
        task = env.reset(seed)
        for text in task.valid_instructions():
            result = rollout(env, lambda _, told: env.expert(told), seed, told=text)
            assert result.told_success and result.steps <= 30
            assert result.success == (text == task.instruction)


def test_standing_still_is_no_success(env: Tabletop) -> None:
    idle = np.array([0, 0, 0, 0, 0, 0, 1.0])
    result = rollout(env, lambda _, __: idle, 4)
    assert not result.success and result.steps == env.max_steps


def test_success_needs_the_cube_released(env: Tabletop) -> None:
    task = env.reset(8)
    for _ in range(env.max_steps):
        action = env.expert()
        if env.state.holds(task.goal.cube):
            action[6] = 0.0
        env.step(action)
    assert env.state.holds(task.goal.cube)
    assert not env.success()


def test_a_step_moves_by_what_it_says(env: Tabletop) -> None:
    env.reset(0)
    env.place_hand(np.array([0.45, 0.0, 0.15]))
    before = env.state.hand
    for _ in range(3):
        env.step(np.array([0.02, -0.01, 0.01, 0, 0, 0.1, 1.0]))
    env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_allclose(env.state.hand - before, [0.06, -0.03, 0.03], atol=0.002)
    assert env.state.yaw == pytest.approx(0.3, abs=0.02)


def test_velocity_in_pieces_equals_one_step(env: Tabletop) -> None:
    twist = np.array([0.1, 0.05, -0.05, 0, 0, 0])
    hands = []
    for pieces in (1, 7):
        env.reset(0)
        for _ in range(pieces):
            env.step_velocity(twist, 1.0, 0.28 / pieces)
        hands.append(env.state.hand)
        assert env.time == pytest.approx(0.28, abs=1e-6)
    np.testing.assert_allclose(hands[0], hands[1], atol=1e-9)


def test_speed_and_workspace_are_limited(env: Tabletop) -> None:
    env.reset(0)
    before = env.state.hand
    env.step(np.array([9.0, 0, 0, 0, 0, 0, 1.0]))
    assert env.state.hand[0] - before[0] <= MAX_STEP + 0.005
    for _ in range(40):
        env.step(np.array([1.0, 1.0, 1.0, 0, 0, 0, 1.0]))
    assert np.all(env.state.hand < [0.66, 0.26, 0.26])


@pytest.mark.parametrize(
    "action", [np.zeros(6), np.full(7, np.nan), np.array([np.inf, 0, 0, 0, 0, 0, 0])]
)
def test_unusable_actions_are_refused(env: Tabletop, action: np.ndarray) -> None:
    env.reset(0)
    with pytest.raises(ValueError, match="action"):
        env.step(action)


def test_errors_name_what_is_wrong(env: Tabletop) -> None:
    env.reset(0)
    with pytest.raises(ValueError, match="duration_s = -1"):
        env.step_velocity(np.zeros(6), 1.0, -1)
    with pytest.raises(ValueError, match="twist"):
        env.step_velocity(np.zeros(5), 1.0, 0.1)
    with pytest.raises(ValueError, match="image_size = 4"):
        Tabletop(image_size=4)
    with pytest.raises(RuntimeError, match="reset"):
        _ = Tabletop().task


def test_backend_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"EGL": None, "OSMesa": "libOSMesa.so.8"}
    monkeypatch.setattr("ctypes.util.find_library", found.get)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert choose_backend() == "osmesa"
    found["OSMesa"] = None
    with pytest.raises(RenderBackendError, match=r"libegl1.*libosmesa6"):
        choose_backend()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert choose_backend() == "egl"


def _state(hand: list[float], gap: float = 0.042) -> TabletopState:
    return TabletopState(
        hand=np.array(hand),
        gap=gap,
        cubes={"red": np.array([0.45, 0.0, 0.022])},
        plates={"white": np.array([0.45, 0.15])},
    )


@pytest.mark.parametrize(
    ("hand", "gap", "sign", "gripper"),
    [
        ([0.35, 0.0, 0.105], 0.042, [1, 0, 0], 1.0),  # far: towards the cube, open
        ([0.45, 0.0, 0.105], 0.042, [0, 0, -1], 1.0),  # above: down
        ([0.45, 0.0, 0.022], 0.042, [0, 0, 0], 0.0),  # around the cube: close
        ([0.45, 0.0, 0.022], 0.022, [0, 0, 1], 0.0),  # closed on it: up
        ([0.30, 0.0, 0.03], 0.042, [1, 0, 1], 1.0),  # low and far: up as well
    ],
)
def test_expert_by_hand(hand: list[float], gap: float, sign: list[int], gripper: float) -> None:
    action = expert_action(_state(hand, gap), Goal("red", "white"))
    moved = np.where(np.abs(action[:3]) < 1e-6, 0, np.sign(action[:3]))
    expected = np.array(sign)
    if gap < 0.03:  # carrying: the plate lies to the left
        expected += np.array([0, 1, 0])
    np.testing.assert_array_equal(moved, expected)
    assert action[6] == gripper
    assert np.all(np.abs(action[:3]) <= MAX_STEP)


def test_expert_refuses_absent_objects() -> None:
    with pytest.raises(ValueError, match="blue cube"):
        expert_action(_state([0.4, 0, 0.1]), Goal("blue", "white"))
