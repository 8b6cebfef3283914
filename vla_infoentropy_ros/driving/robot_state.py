# SPDX-License-Identifier: Apache-2.0
"""What is known about the arm: pose of the end effector, joint positions, its description."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.faults import STALE_STATE, Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.control.watchdog import ahead_of_clock
from vla_infoentropy_ros.driving.clock import Clock
from vla_infoentropy_ros.driving.transforms import Transform, TransformError, Transforms
from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import UserError, printable

_UNIT = 1e-3  # how far the length of a quaternion may be from 1


class StateError(UserError, ValueError):
    """A message about the arm that cannot be used."""


@dataclass(frozen=True)
class Pose:
    """position: (3,) m. orientation: unit quaternion (w, x, y, z)."""

    position: NDArray[np.float64]
    orientation: tuple[float, float, float, float]

    def apart(self, other: Pose) -> tuple[float, float]:
        """m, rad."""
        alike = abs(float(np.dot(self.orientation, other.orientation)))
        return (float(np.linalg.norm(self.position - other.position)),
                2.0 * math.acos(min(1.0, alike)))


@dataclass(frozen=True)
class Heard:
    """When something was last heard that was new. arrival_s: steady. stamp_ns: ROS time, 0 where
    the sender gives none."""

    arrival_s: float
    stamp_ns: int

    def age_s(self, clock: Clock) -> float:
        waited_s = clock.steady_s() - self.arrival_s
        if not self.stamp_ns:
            return waited_s
        return max(waited_s, (clock.now_ns() - self.stamp_ns) / 1e9)

    def since_s(self, other: Heard) -> float:
        """How long after the other: by arrival, or by their stamps where that is longer, as in a
        simulation that is faster than time."""
        apart_s = self.arrival_s - other.arrival_s
        if self.stamp_ns and other.stamp_ns:
            apart_s = max(apart_s, (self.stamp_ns - other.stamp_ns) / 1e9)
        return max(0.0, apart_s)


class RobotState:
    """Newest news and its age. What is no pose or position is not stored: it makes what was there
    before unfit to move by, and leaves it to stop by.

    Each value is replaced as a whole, so that one thread may store while another reads.
    """

    def __init__(self, clock: Clock, settings: CommandSettings) -> None:
        self._clock, self._settings = clock, settings
        self.description = ""
        self.transforms = Transforms()
        self._pose: tuple[Pose, Heard] | None = None
        self._pose_problem = ""
        self._joints: dict[str, tuple[float, Heard]] = {}
        self._bad_joints: dict[str, str] = {}

    def configure(self, settings: CommandSettings) -> None:
        """Poses are to be in its base frame; one of another was no pose."""
        before, self._settings = self._settings, settings
        if (settings.base_frame, settings.tool_frame) != (before.base_frame, before.tool_frame):
            self._pose, self._pose_problem = None, ""

    def clock_jumped(self) -> None:
        """ROS time begins anew: take any stamp next."""
        self.transforms.forget()
        if self._pose is not None:
            self._pose = self._pose[0], replace(self._pose[1], stamp_ns=0)
        self._joints = {
            name: (position, replace(news, stamp_ns=0))
            for name, (position, news) in self._joints.items()
        }

    # What a skin hears

    def hear_pose(self, pose: Pose, frame_id: str, stamp_ns: int) -> None:
        """ee_pose; stamp_ns 0: the sender gives none."""
        self._pose_problem = self._problem(pose, frame_id.lstrip("/"), stamp_ns)
        if not self._pose_problem:
            news = self._news(stamp_ns, None if self._pose is None else self._pose[1])
            if news is not None:
                self._pose = pose, news

    def hear_transform(self, child: str, transform: Transform) -> None:
        """One transform of TF. Raises TransformError for too many frames."""
        skew_ns = round(self._settings.max_clock_skew_s * 1e9)
        self.transforms.hear(child, transform, self._clock.now_ns() + skew_ns)

    def hear_joints(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int
    ) -> None:
        """joint_states, all joints of it or some; without positions, which tells only speeds or
        efforts, nothing. Raises StateError for too many."""
        within("joint_names", len(names), "joint_states", StateError)
        for name in names:
            within("name_characters", len(name), "a name in joint_states", StateError)
        if not len(positions):
            return
        unfit = self._ahead(stamp_ns)
        if len(positions) != len(names):
            unfit = f"{len(names)} name(s) came with {len(positions)} position(s)"
        counts = Counter(names)
        joints, bad = dict(self._joints), dict(self._bad_joints)
        for name, position in zip(names, chain(positions, repeat(math.nan)), strict=False):
            problem = unfit or ("" if math.isfinite(position) else f"{position} is no position")
            if counts[name] > 1:
                problem = f"one message names it {counts[name]} times"
            if problem:
                bad[name] = problem
                continue
            bad.pop(name, None)
            before = joints.get(name)
            news = self._news(stamp_ns, None if before is None else before[1])
            if news is not None:
                joints[name] = float(position), news
        within("joint_names", len(joints.keys() | bad.keys()), "joint_states so far", StateError)
        self._joints, self._bad_joints = joints, bad

    def hear_description(self, text: str) -> None:
        """robot_description. Raises StateError for one that is too long."""
        within("description_characters", len(text), "robot_description", StateError)
        self.description = text

    # What driving asks

    def pose(self, timeout_s: float) -> Pose | Fault:
        """The end effector's pose in the base frame, not older than ``timeout_s``."""
        self._look_up()
        if self._pose_problem:
            return Fault(STALE_STATE, self._pose_problem)
        if self._pose is None:
            return self._missing(self._pose_source, None, timeout_s)
        pose, news = self._pose
        age_s = news.age_s(self._clock)
        return pose if age_s <= timeout_s else self._missing(self._pose_source, age_s, timeout_s)

    def _look_up(self) -> None:
        """Take the pose from TF, where that is its source."""
        settings = self._settings
        if settings.pose_source != "tf":
            return
        try:
            place = self.transforms.find(settings.base_frame, settings.tool_frame)
        except TransformError as error:
            self._pose_problem = str(error)
            return
        pose = Pose(place.position, place.rotation)
        self._pose_problem = self._problem(pose, settings.base_frame, place.stamp_ns)
        if not self._pose_problem:
            self._pose = pose, Heard(place.arrival_s, place.stamp_ns)

    @property
    def _pose_source(self) -> str:
        settings = self._settings
        if settings.pose_source == "tf":
            return f"the transform from {settings.base_frame} to {settings.tool_frame} in TF"
        return "ee_pose"

    @property
    def pose_age_s(self) -> float:
        """Of the newest pose, which was asked for before; 0 without one."""
        return 0.0 if self._pose is None else max(0.0, self._pose[1].age_s(self._clock))

    @property
    def pose_heard(self) -> Heard:
        """Of the newest pose."""
        return Heard(0.0, 0) if self._pose is None else self._pose[1]

    @property
    def last_pose(self) -> Pose | None:
        """The newest pose, however old; to stop by."""
        self._look_up()
        return None if self._pose is None else self._pose[0]

    def joints(self, names: tuple[str, ...], timeout_s: float) -> NDArray[np.float64] | Fault:
        """Positions (n,) rad or m of the named joints, none older than ``timeout_s``."""
        joints = self._joints
        bad = self._bad_joints
        if unfit := next((name for name in names if name in bad), ""):
            return Fault(STALE_STATE, f"joint_states cannot be used for {unfit}: {bad[unfit]}")
        if not joints:
            return self._missing("joint_states", None, timeout_s)
        absent = [name for name in names if name not in joints]
        if absent:
            return Fault(STALE_STATE, f"joint_states lacks {absent[0]}; it has {[*joints]}")
        # Each by itself: a gripper's driver may live on, on the same topic, where the arm's died.
        ages_s = {name: joints[name][1].age_s(self._clock) for name in names}
        oldest = max(names, key=ages_s.__getitem__)
        if ages_s[oldest] > timeout_s:
            return self._missing(f"{oldest} in joint_states", ages_s[oldest], timeout_s)
        return np.array([joints[name][0] for name in names])

    def last_joints(self, names: tuple[str, ...]) -> NDArray[np.float64] | None:
        """The newest positions (n,), however old; to stop by. None where one never came."""
        joints = self._joints
        if not all(name in joints for name in names):
            return None
        return np.array([joints[name][0] for name in names])

    def joints_age_s(self, names: tuple[str, ...]) -> float:
        """Of the oldest of the named joints; infinite where one never came."""
        joints = self._joints
        return max((joints[name][1].age_s(self._clock) if name in joints else math.inf
                    for name in names), default=math.inf)

    def joints_heard(self, names: tuple[str, ...]) -> list[Heard]:
        """Of each of the named joints, of which there is a position."""
        return [self._joints[name][1] for name in names]

    def _news(self, stamp_ns: int, before: Heard | None) -> Heard | None:
        """None: nothing new. A relay may repeat the last message of a driver that is dead."""
        if before is not None and 0 < stamp_ns <= before.stamp_ns:
            return None
        return Heard(self._clock.steady_s(), stamp_ns)

    def _ahead(self, stamp_ns: int) -> str:
        """A stamp of the future would make all later ones nothing new."""
        skew_s = self._settings.max_clock_skew_s
        return ahead_of_clock(stamp_ns, self._clock.now_ns(), skew_s)

    @staticmethod
    def _missing(topic: str, age_s: float | None, timeout_s: float) -> Fault:
        how_old = "never arrived" if age_s is None else f"is {age_s:.2f} s old"
        return Fault(
            STALE_STATE,
            f"{topic} {how_old} (command.pose_timeout_s={timeout_s}), but command.output, "
            "command.limit_workspace or state.source needs it; publish it or change these",
        )

    def _problem(self, pose: Pose, frame: str, stamp_ns: int) -> str:
        base_frame = self._settings.base_frame
        if not frame:
            return (
                "ee_pose names no frame: let its publisher set header.frame_id to "
                f"command.base_frame={base_frame!r}, if it is in that"
            )
        if frame != base_frame:
            return (
                f"ee_pose is in frame {printable(frame)!r}, not in command.base_frame="
                f"{base_frame!r}: transform it, or correct the parameter"
            )
        if ahead := self._ahead(stamp_ns):
            return f"{self._pose_source} cannot be used: {ahead}"
        # Written so that NaN fails as well.
        unit = abs(np.linalg.norm(pose.orientation) - 1.0) < _UNIT
        if np.isfinite(pose.position).all() and unit:
            return ""
        return (
            f"{self._pose_source} is no pose: position {tuple(pose.position.tolist())}, "
            f"orientation (w, x, y, z) {pose.orientation}; need finite numbers and a unit "
            "quaternion"
        )
