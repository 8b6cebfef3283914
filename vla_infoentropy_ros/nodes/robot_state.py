# SPDX-License-Identifier: Apache-2.0
"""What is known about the arm: pose of the end effector, joint positions, its description."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from vla_infoentropy_ros.control.faults import STALE_STATE, Fault
from vla_infoentropy_ros.nodes.messages import to_ns
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST

_UNIT = 1e-3  # how far the length of a quaternion may be from 1


@dataclass(frozen=True)
class _News:
    """When something was last heard that was new. arrival_s: monotonic. stamp_ns: ROS time, 0
    where the sender gives none."""

    arrival_s: float
    stamp_ns: int

    def age_s(self, now_ns: int) -> float:
        waited_s = time.monotonic() - self.arrival_s
        return max(waited_s, (now_ns - self.stamp_ns) / 1e9) if self.stamp_ns else waited_s


def _news(header: Header, before: _News | None) -> _News | None:
    """None: nothing new. A relay may repeat the last message of a driver that is dead."""
    stamp_ns = to_ns(header.stamp)
    if before is not None and 0 < stamp_ns <= before.stamp_ns:
        return None
    return _News(time.monotonic(), stamp_ns)


class RobotState:
    """Newest messages and their age. What is no pose or position is not stored: it makes what was
    there before unfit to move by, and leaves it to stop by."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.description = ""
        self._base_frame = ""
        self._pose: tuple[PoseStamped, _News] | None = None
        self._pose_problem = ""
        self._joints: dict[str, tuple[float, _News]] = {}
        self._bad_joints: dict[str, float] = {}
        node.create_subscription(PoseStamped, "ee_pose", self._store_pose, NEWEST)
        node.create_subscription(JointState, "joint_states", self._store_joints, NEWEST)
        node.create_subscription(String, "robot_description", self._store_description, LATCHED)

    def set_frame(self, base_frame: str) -> None:
        """Poses are to be in this frame; one of another was no pose."""
        if base_frame != self._base_frame:
            self._base_frame, self._pose, self._pose_problem = base_frame, None, ""

    def clock_jumped(self) -> None:
        """ROS time begins anew: take any stamp next."""
        if self._pose is not None:
            self._pose = self._pose[0], replace(self._pose[1], stamp_ns=0)
        self._joints = {
            name: (position, replace(news, stamp_ns=0))
            for name, (position, news) in self._joints.items()
        }

    def pose(self, timeout_s: float) -> PoseStamped | Fault:
        """The end effector's pose in the base frame, not older than ``timeout_s``."""
        if self._pose_problem:
            return Fault(STALE_STATE, self._pose_problem)
        if self._pose is None:
            return self._missing("ee_pose", None, timeout_s)
        message, news = self._pose
        age_s = news.age_s(self._now_ns())
        return message if age_s <= timeout_s else self._missing("ee_pose", age_s, timeout_s)

    @property
    def last_pose(self) -> PoseStamped | None:
        """The newest pose, however old; to stop by."""
        return None if self._pose is None else self._pose[0]

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
        now_ns = self._now_ns()
        ages_s = {name: self._joints[name][1].age_s(now_ns) for name in names}
        oldest = max(names, key=ages_s.__getitem__)
        if ages_s[oldest] > timeout_s:
            return self._missing(f"{oldest} in joint_states", ages_s[oldest], timeout_s)
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

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _store_pose(self, message: PoseStamped) -> None:
        self._pose_problem = self._problem(message)
        if not self._pose_problem:
            news = _news(message.header, None if self._pose is None else self._pose[1])
            if news is not None:
                self._pose = message, news

    def _problem(self, message: PoseStamped) -> str:
        frame = message.header.frame_id.lstrip("/")
        if frame and self._base_frame and frame != self._base_frame:
            return (
                f"ee_pose is in frame {frame!r}, not in command.base_frame="
                f"{self._base_frame!r}: transform it, or correct the parameter"
            )
        at, turn = message.pose.position, message.pose.orientation
        place, quaternion = (at.x, at.y, at.z), (turn.w, turn.x, turn.y, turn.z)
        # Written so that NaN fails as well.
        if np.isfinite(place).all() and abs(np.linalg.norm(quaternion) - 1.0) < _UNIT:
            return ""
        return (
            f"ee_pose is no pose: position {place}, orientation (w, x, y, z) {quaternion}; "
            "need finite numbers and a unit quaternion"
        )

    def _store_joints(self, message: JointState) -> None:
        for name, position in zip(message.name, message.position, strict=False):
            if not math.isfinite(position):
                self._bad_joints[name] = position
                continue
            self._bad_joints.pop(name, None)
            before = self._joints.get(name)
            news = _news(message.header, None if before is None else before[1])
            if news is not None:
                self._joints[name] = position, news

    def _store_description(self, message: String) -> None:
        self.description = message.data
