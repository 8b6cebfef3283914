# SPDX-License-Identifier: Apache-2.0
"""The tabletop scene: geometry, colours, camera, and its MuJoCo model as XML.

Frame: the robot base frame, x forward (away from the robot), y left, z up, origin on the table
surface under the robot's base. Lengths are metres. The camera stands opposite the robot and looks
down at the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CUBE_COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.07, 0.07),
    "green": (0.08, 0.62, 0.14),
    "blue": (0.08, 0.16, 0.86),
    "yellow": (0.95, 0.86, 0.08),
}
PLATE_COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (0.96, 0.96, 0.96),
    "orange": (0.98, 0.48, 0.05),
    "purple": (0.50, 0.12, 0.62),
    "cyan": (0.10, 0.80, 0.82),
}

CUBE_HALF = 0.022
PLATE_RADIUS = 0.055
PLATE_HEIGHT = 0.006
FINGER_OPEN = 0.042  # distance of a finger's inner face from the grasp centre when open
WORKSPACE_LOW = np.array([0.26, -0.24, 0.020])
WORKSPACE_HIGH = np.array([0.64, 0.24, 0.24])
GANTRY_HOME = (0.45, 0.0, 0.16)
"""Where the hand is in Gazebo while its joints are at 0, m."""
LAYOUT_LOW = np.array([0.33, -0.17])
LAYOUT_HIGH = np.array([0.57, 0.17])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``position`` and ``target`` in metres (base frame), ``fovy`` in degrees."""

    position: tuple[float, float, float] = (1.02, 0.0, 0.80)
    target: tuple[float, float, float] = (0.455, 0.0, 0.03)
    fovy: float = 27.0
    _axes: tuple[np.ndarray, np.ndarray, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1.0 <= self.fovy <= 120.0:
            raise ValueError(f"fovy = {self.fovy}: must lie in [1, 120] degrees")
        forward = np.asarray(self.target) - np.asarray(self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        if np.linalg.norm(right) < 1e-6:
            raise ValueError(f"position = {self.position}: the camera may not look straight down")
        right = right / np.linalg.norm(right)
        object.__setattr__(self, "_axes", (right, np.cross(right, forward), forward))

    @property
    def xyaxes(self) -> str:
        """MuJoCo's ``xyaxes`` attribute: the image's right and up directions in the base frame."""
        right, up, _ = self._axes
        return " ".join(f"{value:.8f}" for value in (*right, *up))

    def project(self, points: np.ndarray, size: int) -> np.ndarray:
        """Project ``points`` (..., 3) metres to (column, row) pixels (..., 2), square image."""
        right, up, forward = self._axes
        relative = np.asarray(points, dtype=np.float64) - np.asarray(self.position)
        depth = relative @ forward
        focal = 0.5 * size / np.tan(np.radians(self.fovy) / 2)
        column = 0.5 * size + focal * (relative @ right) / depth
        row = 0.5 * size - focal * (relative @ up) / depth
        return np.stack([column, row], axis=-1)


def _numbers(values: tuple[float, ...] | np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def scene_xml(camera: Camera, image_size: int, timestep: float) -> str:
    """Return the MJCF of the scene.

    A Cartesian gantry (slides x, y, z and a yaw hinge) carries two position-driven fingers, so a
    grasp is a contact grasp. The dark bar under the hand (body ``carriage``, no collisions) stands
    for the hand's shadow and makes its height observable: in one tilted view the hand alone is the
    same picture for many pairs of height and depth. It is wider than a cube, because a smaller
    mark vanishes under the cube just when the fingers come down around it.
    """
    cubes = "".join(
        f"""
    <body name="cube_{name}" pos="3 {index} {CUBE_HALF}">
      <freejoint name="cube_{name}"/>
      <geom name="cube_{name}" type="box" size="{CUBE_HALF} {CUBE_HALF} {CUBE_HALF}" mass="0.05"
            rgba="{_numbers(colour)} 1" condim="4" friction="1.5 0.02 0.001"
            solref="0.008 1" contype="1" conaffinity="1"/>
    </body>"""
        for index, (name, colour) in enumerate(CUBE_COLOURS.items())
    )
    plates = "".join(
        f"""
    <body name="plate_{name}" mocap="true" pos="4 {index} {PLATE_HEIGHT / 2}">
      <geom name="plate_{name}" type="cylinder" size="{PLATE_RADIUS} {PLATE_HEIGHT / 2}"
            rgba="{_numbers(colour)} 1" friction="1 0.02 0.001"/>
    </body>"""
        for index, (name, colour) in enumerate(PLATE_COLOURS.items())
    )
    fingers = "".join(
        f"""
          <body name="finger_{side}" pos="0 {sign * 0.006} 0" gravcomp="1">
            <joint name="finger_{side}" type="slide" axis="0 {sign} 0" range="0 {FINGER_OPEN}"
                   damping="6" armature="0.02"/>
            <geom type="box" size="0.013 0.006 0.026" pos="0 0 0.012" mass="0.03"
                  rgba="0.25 0.25 0.28 1" condim="4" friction="2 0.05 0.001" solref="0.008 1"/>
          </body>"""
        for side, sign in (("left", 1), ("right", -1))
    )
    return f"""<mujoco model="tabletop">
  <compiler angle="radian"/>
  <option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <global offwidth="{image_size}" offheight="{image_size}"/>
    <quality offsamples="0" shadowsize="0"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
    <map znear="0.05" zfar="20"/>
  </visual>
  <worldbody>
    <camera name="front" pos="{_numbers(camera.position)}" xyaxes="{camera.xyaxes}"
            fovy="{camera.fovy}"/>
    <light name="lamp" pos="0.2 0.6 1.5" dir="0.2 -0.4 -1" directional="true"
           diffuse="0.35 0.35 0.35" specular="0 0 0" castshadow="false"/>
    <geom name="table" type="plane" size="6 6 0.1" rgba="0.50 0.46 0.42 1"
          friction="1 0.02 0.001"/>{cubes}{plates}
    <body name="beam" pos="0 0 0" gravcomp="1">
      <joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <inertial pos="0 0 0" mass="0.5" diaginertia="0.001 0.001 0.001"/>
      <body name="carriage" gravcomp="1">
        <joint name="y" type="slide" axis="0 1 0" damping="1"/>
        <inertial pos="0 0 0" mass="0.5" diaginertia="0.001 0.001 0.001"/>
        <geom name="shadow" type="box" size="0.008 0.064 0.0005" pos="0 0 0.0075"
              rgba="0.05 0.05 0.05 1" contype="0" conaffinity="0"/>
        <body name="hand" gravcomp="1">
          <joint name="z" type="slide" axis="0 0 1" damping="1"/>
          <joint name="yaw" type="hinge" axis="0 0 1" damping="0.05" armature="0.002"/>
          <geom name="palm" type="box" size="0.014 0.052 0.008" pos="0 0 0.046" mass="0.2"
                rgba="0.32 0.32 0.36 1" contype="0" conaffinity="0"/>
          <geom name="stem" type="cylinder" size="0.009 0.2" pos="0 0 0.25" mass="0.1"
                rgba="0.45 0.45 0.5 1" contype="0" conaffinity="0"/>{fingers}
        </body>
      </body>
    </body>
  </worldbody>
  <contact>
    <exclude body1="finger_left" body2="finger_right"/>
  </contact>
  <actuator>
    <position name="x" joint="x" kp="2500" dampratio="1"/>
    <position name="y" joint="y" kp="2500" dampratio="1"/>
    <position name="z" joint="z" kp="2500" dampratio="1"/>
    <position name="yaw" joint="yaw" kp="20" dampratio="1"/>
    <position name="finger_left" joint="finger_left" kp="250" dampratio="1" forcerange="-8 8"/>
    <position name="finger_right" joint="finger_right" kp="250" dampratio="1" forcerange="-8 8"/>
  </actuator>
</mujoco>
"""
