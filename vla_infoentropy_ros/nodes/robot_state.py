# SPDX-License-Identifier: Apache-2.0
"""What is known about the arm: pose of the end effector, joint positions, its description."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_infoentropy_ros.control.faults import STALE_STATE, Fault
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST

_UNIT = 1e-3  # how far the length of a quaternion may be from 1


class RobotState:
    """Newest messages and their age. What is no pose or position is not stored: it makes what was
    there before unfit to move by, and leaves it to stop by."""

    def __init__(self, node: Any) -> None:
        self.description = ""
        self._pose: PoseStamped | None = None
        self._pose_s = 0.0
        self._pose_problem = ""
        self._joints: dict[str, tuple[float, float]] = {}  # position, s when it arrived
        self._bad_joints: dict[str, float] = {}
        node.create_subscription(PoseStamped, "ee_pose", self._store_pose, NEWEST)
        node.create_subscription(JointState, "joint_states", self._store_joints, NEWEST)
        node.create_subscription(String, "robot_description", self._store_description, LATCHED)

    def pose(self, timeout_s: float) -> PoseStamped | Fault:
        """The end effector's pose in the base frame, not older than ``timeout_s``."""
        if self._pose_problem:
            return Fault(STALE_STATE, self._pose_problem)
        if self._pose is None:
            return self._missing("ee_pose", None, timeout_s)
        age_s = time.monotonic() - self._pose_s
        return self._pose if age_s <= timeout_s else self._missing("ee_pose", age_s, timeout_s)

    @property
    def last_pose(self) -> PoseStamped | None:
        """The newest pose, however old; to stop by."""
        return self._pose

    def joints(self, names: tuple[str, ...], timeout_s: float) -> NDArray[np.float64] | Fault:
        """Positions (n,) rad or m of the named joints, none older than ``timeout_s``."""
        bad = {name: self._bad_joints[name] for name in names if name in self._bad_joints}
        if bad:
            return Fault(STALE_STATE, f"joint_states holds no finite positions: {bad}")
        if not self._joints:
            return self._missing("joint_states", None, timeout_s)
        absent = [name for name in names if name not in self._joints]
        if absent:
            return Fault(STALE_STATE, f"joint_states lacks {absent[0]}; it has {[*self._joints]}")
        # Each by itself: a gripper's driver may live on, on the same topic, where the arm's died.
        oldest = min(names, key=lambda name: self._joints[name][1])
        age_s = time.monotonic() - self._joints[oldest][1]
        if age_s > timeout_s:
            return self._missing(f"{oldest} in joint_states", age_s, timeout_s)
        return self._positions(names)

    def last_joints(self, names: tuple[str, ...]) -> NDArray[np.float64] | None:
        """The newest positions (n,), however old; to stop by. None where one never came."""
        return self._positions(names) if all(name in self._joints for name in names) else None

    def _positions(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        return np.array([self._joints[name][0] for name in names])

    @staticmethod
    def _missing(topic: str, age_s: float | None, timeout_s: float) -> Fault:
        how_old = "never arrived" if age_s is None else f"is {age_s:.2f} s old"
        return Fault(
            STALE_STATE,
            f"{topic} {how_old} (command.pose_timeout_s={timeout_s}), but command.output or "
            "command.limit_workspace needs it; publish it or change these",
        )

    def _store_pose(self, message: PoseStamped) -> None:
        at, turn = message.pose.position, message.pose.orientation
        place, quaternion = (at.x, at.y, at.z), (turn.w, turn.x, turn.y, turn.z)
        # Written so that NaN fails as well.
        if np.isfinite(place).all() and abs(np.linalg.norm(quaternion) - 1.0) < _UNIT:
            self._pose, self._pose_s, self._pose_problem = message, time.monotonic(), ""
        else:
            self._pose_problem = (
                f"ee_pose is no pose: position {place}, orientation (w, x, y, z) {quaternion}; "
                "need finite numbers and a unit quaternion"
            )

    def _store_joints(self, message: JointState) -> None:
        now_s = time.monotonic()
        for name, position in zip(message.name, message.position, strict=False):
            if math.isfinite(position):
                self._joints[name] = position, now_s
                self._bad_joints.pop(name, None)
            else:
                self._bad_joints[name] = position

    def _store_description(self, message: String) -> None:
        self.description = message.data
