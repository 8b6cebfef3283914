# SPDX-License-Identifier: Apache-2.0
"""One LIBERO task as a world: reset, look, step, and its privileged state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.libero.expert import Array, Body, Scene
from vla_infoentropy_ros.libero.geometry import surface_points
from vla_infoentropy_ros.libero.goals import goals_of
from vla_infoentropy_ros.libero.suites import STEP_LIMITS, SuiteError, load_suite

CAMERA = "agentview"
CAMERAS = {CAMERA: CAMERA, "wrist": "robot0_eye_in_hand"}
"""What vla-eval's protocol calls the benchmark's pictures, and what the simulator does."""
PICTURE = 256
"""Pixels, as the benchmark's harnesses render it."""
SETTLING_STEPS = 10
TRIES = 4  # to find a place for a thing that is moved
STAND_STILL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


RENDERINGS = ("stock", "fast", "none")
"""As the benchmark does; without reflections, shadows and multisampling, which is two to three
times as fast in software; or not at all.

And when: the benchmark's environment observes in the first 2 ms of a control step of 50 ms, so its
pictures and its state are 48 ms old when the step returns. Stock ones are these; fast ones are of
the step's end.
"""


class World:
    """A task of a suite. Positions in metres, world frame; actions in the controller's units.

    Soft resets keep the model: a hundredth of the time, for pictures that differ by a fraction of
    a grey level. Fixtures are drawn from numpy's global generator at each reset, so ``seed`` fixes
    them too.
    """

    def __init__(self, suite: str, task: int, *, rendering: str = "fast",
                 cameras: Sequence[str] = (CAMERA,), hard_reset: bool = False) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")
        self._suite = load_suite(suite)
        if not 0 <= task < self._suite.n_tasks:
            raise SuiteError(f"task = {task}: {suite} has tasks 0 to {self._suite.n_tasks - 1}")
        from libero.libero import get_libero_path
        from libero.libero.envs.env_wrapper import ControlEnv

        described = self._suite.get_task(task)
        self.suite, self.task = suite, task
        self.instruction: str = described.language
        self.max_steps = STEP_LIMITS[suite]
        file = os.path.join(get_libero_path("bddl_files"), described.problem_folder,
                            described.bddl_file)
        self._rendering = rendering
        self._wrapper = ControlEnv(bddl_file_name=file, use_camera_obs=rendering == "stock",
                                   hard_reset=hard_reset,
                                   has_offscreen_renderer=rendering != "none",
                                   camera_names=[CAMERAS[camera] for camera in cameras],
                                   camera_heights=PICTURE,
                                   camera_widths=PICTURE, horizon=10**9)
        self.env = self._wrapper.env
        self.goals = goals_of(self._suite, task, list(self.env.objects_dict))
        self._points: dict[str, tuple[int, Array]] = {}
        self._observed: dict[str, Any] = {}  # by the benchmark's own environment
        self._tune()

    def reset(self, seed: int) -> None:
        """A layout drawn from the task's own distribution, settled."""
        np.random.seed(seed)
        self._wrapper.reset()
        self._settle()

    def reset_to(self, index: int, seed: int) -> None:
        """The benchmark's initial state ``index`` (0 .. 49), settled."""
        states = self._suite.get_task_init_states(self.task)
        if not 0 <= index < len(states):
            raise SuiteError(f"initial state {index}: {self.suite} has 0 to {len(states) - 1}")
        np.random.seed(seed)
        self._wrapper.reset()
        self._wrapper.set_init_state(states[index])
        self._settle()

    def other_instruction(self, seed: int) -> str:
        """Another instruction of the suite: true of this world where there is one, else any."""
        own = [goal.instruction for goal in self.goals]
        others = own[1:] or [
            task.language for task in map(self._suite.get_task, range(self._suite.n_tasks))
            if task.language not in own
        ]
        return others[seed % len(others)]

    def jitter(self, rng: np.random.Generator, most: float) -> None:
        """Shift everything that stands on floor or table sideways, by up to ``most`` metres."""
        for joint in self._standing(self.scene()).values():
            self._shift(joint, rng.uniform(-most, most, 2))
        self._settle()

    @contextmanager
    def scattered(self, rng: np.random.Generator, most: float) -> Iterator[Scene]:
        """Within it, what stands on floor or table is elsewhere by up to ``most`` metres and the
        hand is not: a layout more without a step of the simulator. What would meet the hand or
        another body stays where it was."""
        data = self.env.sim.data
        self.env.sim.forward()  # a step leaves the bodies where they were at its last beginning
        before, scene = np.array(data.qpos), self.scene()
        bodies = dict(scene.bodies)
        for name, joint in self._standing(scene).items():
            others = [body for other, body in bodies.items() if other != name]
            for offset in rng.uniform(-most, most, (TRIES, 2)):
                moved = bodies[name].moved(offset)
                if not moved.meets_hand(scene.hand) and not any(map(moved.meets, others)):
                    bodies[name] = moved
                    self._shift(joint, offset)
                    break
        self.env.sim.forward()
        try:
            yield replace(scene, bodies=bodies)
        finally:
            data.qpos[:] = before
            self.env.sim.forward()

    def step(self, action: NDArray[np.float64]) -> bool:
        """One control step of 50 ms with ``action`` (7,); whether the task is done."""
        self._observed, _, done, _ = self.env.step(action)
        return bool(done)

    def render(self, camera: str = CAMERA) -> NDArray[np.uint8]:
        """The picture (256, 256, 3) RGB of one of ``cameras``, turned by 180 degrees as the
        benchmark's harnesses turn it."""
        name = CAMERAS[camera]
        picture = (self._observed[f"{name}_image"] if self._rendering == "stock" else
                   self.env.sim.render(camera_name=name, width=PICTURE, height=PICTURE))
        return np.ascontiguousarray(picture[::-1, ::-1])

    def state(self) -> NDArray[np.float64]:
        """The robot's (8,), as LIBERO's recordings hold it and policies were trained with it:
        position of the hand [m] and its rotation vector [rad], world frame, and where the two
        fingers are [m]."""
        from robosuite.utils.transform_utils import quat2axisangle

        seen = (self._observed if self._rendering == "stock" else
                self.env._get_observations(force_update=True))
        turn = np.array(seen["robot0_eef_quat"])  # a copy, for that function clips its own
        return np.concatenate([seen["robot0_eef_pos"], quat2axisangle(turn),
                               seen["robot0_gripper_qpos"]])

    def project(self, points: Array) -> Array:
        """World points (N, 3) to (N, 2) columns and rows of the turned picture, as shares of its
        size."""
        sim = self.env.sim
        camera = sim.model.camera_name2id(CAMERA)
        turn = np.array(sim.data.cam_xmat[camera]).reshape(3, 3)
        seen = (points - sim.data.cam_xpos[camera]) @ turn
        scale = 0.5 / np.tan(np.radians(sim.model.cam_fovy[camera]) / 2)
        column = 0.5 + scale * seen[:, 0] / -seen[:, 2]
        row = 0.5 - scale * seen[:, 1] / -seen[:, 2]
        # The renderer's rows run upwards; turning by 180 degrees leaves a mirror image.
        return np.stack([1.0 - column, row], axis=1)

    def scene(self) -> Scene:
        """Everything that the expert may know."""
        sim, robot = self.env.sim, self.env.robots[0]
        bodies: dict[str, Body] = {}
        for name in (*self.env.objects_dict, *self.env.fixtures_dict):
            if name not in self.env.obj_body_id:
                continue
            body, local = self._local(name)
            turn = np.array(sim.data.body_xmat[body]).reshape(3, 3)
            if len(local):
                bodies[name] = Body.around(local @ turn.T + sim.data.body_xpos[body],
                                           hollow=name in self.env.fixtures_dict)
        held = frozenset(
            name for name, thing in self.env.objects_dict.items()
            if self.env._check_grasp(robot.gripper, thing.contact_geoms)
        )
        return Scene(np.array(robot.controller.ee_pos), bodies, held, self._ground())

    def close(self) -> None:
        """Free the simulator."""
        self._wrapper.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _local(self, name: str) -> tuple[int, Array]:
        if name not in self._points:
            self._points[name] = surface_points(self.env.sim, self.env.obj_body_id[name])
        return self._points[name]

    def _ground(self) -> float:
        return float(self.env.workspace_offset[2]) if self.suite != "libero_object" else 0.0

    def _standing(self, scene: Scene) -> dict[str, str]:
        """What stands on floor or table, free and with nothing on it, with its joint."""
        loose = {name: body for name, body in scene.bodies.items()
                 if not body.hollow and name not in scene.held}
        return {
            name: self.env.objects_dict[name].joints[-1] for name, body in loose.items()
            if body.low[2] < self._ground() + 0.01 and not any(map(body.is_under, loose.values()))
        }

    def _shift(self, joint: str, offset: Array) -> None:
        pose = np.array(self.env.sim.data.get_joint_qpos(joint))
        pose[:2] += offset
        self.env.sim.data.set_joint_qpos(joint, pose)

    def _settle(self) -> None:
        # The one thing that the simulator's soft reset leaves as the last episode ended.
        gripper = self.env.robots[0].gripper
        gripper.current_action = np.zeros_like(gripper.current_action)
        self.env.sim.forward()
        for _ in range(SETTLING_STEPS):
            self.step(STAND_STILL)

    def _tune(self) -> None:
        """Rendering flags; the context must be made anew where multisampling changes."""
        if self._rendering != "fast":
            return
        import mujoco

        context: Any = self.env.sim._render_context_offscreen
        self.env.sim.model._model.vis.quality.offsamples = 0
        context.con.free()
        del context.con
        context._set_mujoco_context_and_buffers()
        for flag in (mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SHADOW):
            context.scn.flags[flag] = 0
