# SPDX-License-Identifier: Apache-2.0
"""The tabletop simulator: reset, look, act, judge. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_infoentropy_ros.sim.expert import TabletopState, expert_action
from vla_infoentropy_ros.sim.gantry import CONTROL_PERIOD, FASTEST, advance
from vla_infoentropy_ros.sim.gl import load_mujoco, renderer
from vla_infoentropy_ros.sim.scene import (
    CUBE_COLOURS,
    CUBE_HALF,
    FINGER_OPEN,
    PLATE_COLOURS,
    PLATE_HEIGHT,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
    Camera,
    scene_xml,
)
from vla_infoentropy_ros.sim.tasks import Task, parse_instruction, sample_task

MAX_STEPS = 40
_TIMESTEP = 0.004


@dataclass(frozen=True)
class TabletopMoment:
    """What :meth:`Tabletop.save` keeps. physics: MuJoCo's integration state; target: (4,) set
    point of the gantry, m and rad; time_debt: s not stepped yet."""

    physics: np.ndarray
    target: np.ndarray
    time_debt: float


class Tabletop:
    """A MuJoCo tabletop with a two-finger Cartesian gantry and one fixed camera.

    Use it as a context manager, or call :meth:`close`: the renderer holds an OpenGL context.
    """

    max_steps = MAX_STEPS
    control_period = CONTROL_PERIOD

    def __init__(self, image_size: int = 224, camera: Camera | None = None) -> None:
        if not 16 <= image_size <= 2048:
            raise ValueError(f"image_size = {image_size}: must lie in [16, 2048] pixels")
        self._mj: Any = load_mujoco()
        self.image_size = image_size
        self.camera = camera or Camera()
        self._model: Any = self._mj.MjModel.from_xml_string(
            scene_xml(self.camera, image_size, _TIMESTEP)
        )
        self._data: Any = self._mj.MjData(self._model)
        self._renderer: Any = None
        self._axes = [self._model.joint(name).qposadr[0] for name in ("x", "y", "z", "yaw")]
        self._fingers = [
            self._model.joint(f"finger_{side}").qposadr[0] for side in ("left", "right")
        ]
        self._target = np.zeros(4)
        self._time_debt = 0.0
        self._task: Task | None = None

    def __enter__(self) -> Tabletop:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the renderer. Stepping stays possible; the next render opens a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def task(self) -> Task:
        """The running task; an error before the first :meth:`reset`."""
        if self._task is None:
            raise RuntimeError("no task yet: call reset(seed) first")
        return self._task

    def reset(self, seed: int) -> Task:
        """Start the episode that belongs to ``seed`` and return its task.

        Equal seeds give equal episodes. Seeds >= ``tasks.EVALUATION_SEED`` are never trained on.
        """
        task, layout = sample_task(seed)
        self._mj.mj_resetData(self._model, self._data)
        for index, colour in enumerate(CUBE_COLOURS):
            place = layout.cubes.get(colour)
            where = [3.0, index, CUBE_HALF] if place is None else [*place, CUBE_HALF]
            start = self._model.joint(f"cube_{colour}").qposadr[0]
            self._data.qpos[start : start + 7] = [*where, 1.0, 0.0, 0.0, 0.0]
        for index, colour in enumerate(PLATE_COLOURS):
            place = layout.plates.get(colour)
            xy = [4.0, index] if place is None else place
            body = self._model.body(f"plate_{colour}").mocapid[0]
            self._data.mocap_pos[body] = [xy[0], xy[1], PLATE_HEIGHT / 2]
        self._task = task
        self._time_debt = 0.0
        self.place_hand(layout.hand)
        return task

    def place_hand(self, position: np.ndarray, yaw: float = 0.0) -> None:
        """Put the hand, open and empty, at ``position`` (3,) metres. For start states only."""
        self._target[:3] = np.clip(position, WORKSPACE_LOW, WORKSPACE_HIGH)
        self._target[3] = yaw
        self._data.qpos[self._axes] = self._target
        self._data.qpos[self._fingers] = FINGER_OPEN
        self._data.ctrl[:4] = self._target
        self._data.ctrl[4:6] = FINGER_OPEN
        self._data.qvel[:] = 0.0
        self._mj.mj_forward(self._model, self._data)

    def render(self) -> np.ndarray:
        """The camera's picture, (H, W, 3) uint8 RGB."""
        if self._renderer is None:
            self._renderer = renderer(self._model, self.image_size)
            flags = self._renderer.scene.flags
            flags[self._mj.mjtRndFlag.mjRND_SHADOW] = 0
            flags[self._mj.mjtRndFlag.mjRND_REFLECTION] = 0
        self._renderer.update_scene(self._data, camera="front")
        image: np.ndarray = self._renderer.render()
        return image

    def step(self, action: np.ndarray) -> None:
        """Carry out one control step.

        ``action`` (7,): translation in metres and rotation in radians per control step (0.2 s) in
        the base frame, then the gripper, 1 = open. The gantry turns about z only, so roll and
        pitch are ignored.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ValueError(f"action = {action}: must be 7 finite numbers")
        self.step_velocity(action[:6] / CONTROL_PERIOD, float(action[6]), CONTROL_PERIOD)

    def step_velocity(self, twist: np.ndarray, gripper: float, duration_s: float) -> None:
        """Drive the hand at a velocity for a while.

        ``twist`` (6,): m/s and rad/s in the base frame, limited to what one control step allows.
        ``gripper`` above 0.5 opens. Durations that are no multiple of the physics step (4 ms)
        carry their rest over to the next call.
        """
        twist = np.asarray(twist, dtype=np.float64)
        if twist.shape != (6,) or not np.isfinite(twist).all():
            raise ValueError(f"twist = {twist}: must be 6 finite numbers (m/s, rad/s)")
        if not 0.0 <= duration_s <= 10.0:
            raise ValueError(f"duration_s = {duration_s}: must lie in [0, 10] seconds")
        speeds = np.clip(twist[[0, 1, 2, 5]], -FASTEST, FASTEST)
        self._drive(speeds, gripper, duration_s)

    def carry(
        self, position: np.ndarray, yaw: float, gripper: float, duration_s: float
    ) -> None:
        """Bring the hand to a pose within ``duration_s``: it sits at the tip of an arm.

        position: (3,) metres in the base frame. yaw: radians. No speed is too high here, but the
        hand stays above the table.
        """
        way = np.append(np.asarray(position, dtype=np.float64), yaw) - self._target
        way[3] = (way[3] + np.pi) % (2.0 * np.pi) - np.pi
        self._drive(way / duration_s, gripper, duration_s)

    def _drive(self, speeds: np.ndarray, gripper: float, duration_s: float) -> None:
        """speeds: (4,) m/s and rad/s of the hand's x, y, z and yaw."""
        self._time_debt += duration_s
        steps = int(self._time_debt / _TIMESTEP + 1e-6)
        self._time_debt -= steps * _TIMESTEP
        travel = speeds * _TIMESTEP
        axes = self._axes[:3]
        joints, control = self._data.qpos, self._data.ctrl  # views
        control[4:6] = FINGER_OPEN if gripper > 0.5 else 0.0
        for _ in range(steps):
            advance(self._target, travel, joints[axes])
            control[:4] = self._target
            self._mj.mj_step(self._model, self._data)
        self._mj.mj_forward(self._model, self._data)

    def save(self) -> TabletopMoment:
        """All that later steps depend on, for :meth:`restore`."""
        kind = self._mj.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(self._mj.mj_stateSize(self._model, kind))
        self._mj.mj_getState(self._model, self._data, physics, kind)
        return TabletopMoment(physics, self._target.copy(), self._time_debt)

    def restore(self, moment: TabletopMoment) -> None:
        """Go back to a moment of the running episode, as if nothing had happened since."""
        kind = self._mj.mjtState.mjSTATE_INTEGRATION
        self._mj.mj_setState(self._model, self._data, moment.physics, kind)
        self._target[:] = moment.target
        self._time_debt = moment.time_debt
        self._mj.mj_forward(self._model, self._data)

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return float(self._data.time)

    @property
    def state(self) -> TabletopState:
        """Positions of hand, cubes and plates, metres in the base frame."""
        task = self.task
        qpos = self._data.qpos
        return TabletopState(
            hand=qpos[self._axes[:3]].copy(),
            gap=float(qpos[self._fingers].mean()),
            cubes={c: self._data.body(f"cube_{c}").xpos.copy() for c in task.cubes},
            plates={p: self._data.body(f"plate_{p}").xpos[:2].copy() for p in task.plates},
            yaw=float(qpos[self._axes[3]]),
        )

    def success(self, instruction: str | None = None) -> bool:
        """Whether the cube rests on the plate, released; for ``instruction`` or the task's own."""
        goal = self.task.goal if instruction is None else parse_instruction(instruction)
        return self.state.placed(goal)

    def expert(self, instruction: str | None = None) -> np.ndarray:
        """The expert's action (7,) now; for ``instruction`` or the task's own."""
        goal = self.task.goal if instruction is None else parse_instruction(instruction)
        return expert_action(self.state, goal)
