# SPDX-License-Identifier: Apache-2.0
"""A task as a world: an initial state is the same one, whatever was played before it."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from test.trees import SOURCE
from vla_infoentropy_ros.libero.world import STAND_STILL, World

SIMULATOR = SOURCE / ".venv-libero" / "bin" / "python"
TWICE = """
import numpy as np
from vla_infoentropy_ros.libero.world import World
with World("libero_object", 1) as world:
    def begun():
        world.reset_to(3, 1003)
        return np.array(world.env.sim.data.qpos), world.render()
    (state, picture), close = begun(), np.array([0.3, 0.1, -0.5, 0.0, 0.0, 0.0, 1.0])
    for _ in range(40):
        world.step(close)
    again, seen = begun()
    print("same" if np.array_equal(state, again) and np.array_equal(picture, seen) else
          f"{abs(state - again).max():.2g} m or rad, {(picture != seen).any(axis=-1).sum()} pixels")
"""

STOCK = """
import os
import numpy as np
from libero.libero import get_libero_path
from libero.libero.envs import OffScreenRenderEnv
from robosuite.utils.transform_utils import quat2axisangle
from vla_infoentropy_ros.libero.world import CAMERAS, STAND_STILL, World
with World("libero_object", 1, rendering="stock", cameras=list(CAMERAS), hard_reset=True) as world:
    task = world._suite.get_task(1)
    stock = OffScreenRenderEnv(
        bddl_file_name=os.path.join(get_libero_path("bddl_files"), task.problem_folder,
                                    task.bddl_file),
        camera_heights=256, camera_widths=256)
    np.random.seed(7)
    stock.reset()
    stock.set_init_state(world._suite.get_task_init_states(1)[3])
    for _ in range(10):
        seen, *_ = stock.step(STAND_STILL)
    world.reset_to(3, 7)
    turn = np.array([0.3, 0.1, -0.5, 0.2, -0.3, 0.4, 1.0])
    for _ in range(15):
        seen, *_ = stock.step(turn)
        world.step(turn)
    own = np.concatenate([seen["robot0_eef_pos"], quat2axisangle(seen["robot0_eef_quat"].copy()),
                          seen["robot0_gripper_qpos"]])
    off = abs(world.state() - own).max()
    parts = [f"state {off:.2g}"] if off or world.state().shape != (8,) else []
    for camera, name in CAMERAS.items():
        other = (world.render(camera) != seen[f"{name}_image"][::-1, ::-1]).any(axis=-1).sum()
        parts += [f"{camera} {other} pixels"] if other else []
    print(", ".join(parts) or "same")
"""


class Hand:
    """Its fingers go on from the command that they have, a little further with each step, as
    robosuite's do; neither a reset nor an initial state changes that command."""

    def __init__(self) -> None:
        self.robots = [SimpleNamespace(gripper=self)]
        self.current_action = np.zeros(2)
        self.sim = SimpleNamespace(forward=lambda: None)
        self.opened: list[float] = []

    def step(self, action: np.ndarray) -> tuple[None, float, bool, dict[str, Any]]:
        self.current_action = np.clip(self.current_action + 0.25 * action[6], -1.0, 1.0)
        self.opened.append(float(self.current_action[0]))
        return None, 0.0, False, {}


def test_the_hand_begins_an_episode_by_no_command_of_the_last_one() -> None:
    world, hand = World.__new__(World), Hand()
    world.env, world.task, world.suite = hand, 0, "s"
    world._wrapper = SimpleNamespace(reset=lambda: None, set_init_state=lambda state: None)
    world._suite = SimpleNamespace(get_task_init_states=lambda task: [0, 1])
    world.reset_to(0, 0)
    first = list(hand.opened)
    world.step(-STAND_STILL)
    hand.opened.clear()
    world.reset_to(0, 0)
    assert hand.opened == first


@pytest.mark.skipif(not SIMULATOR.exists(), reason="the simulator is not set up: make libero")
@pytest.mark.parametrize("script", [
    pytest.param(TWICE, id="an initial state is the same whatever was played before"),
    pytest.param(STOCK, id="pictures and state are those of the benchmark's own environment"),
])
def test_in_the_simulator(script: str) -> None:
    done = subprocess.run([SIMULATOR, "-c", script], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(SOURCE), "MUJOCO_GL": "egl"})
    assert done.stdout.splitlines()[-1:] == ["same"], done.stdout + done.stderr
