# SPDX-License-Identifier: Apache-2.0
"""What an arm is told so that it moves as a command says: a velocity, a pose, or joint positions.

The target of an action as joint positions is reckoned from where the arm is when the action is
issued, as a pose from where it should be; so errors do not add up. To stop is to ask for where the
arm is now: where it was heard to be, or, if that is too long ago for an arm on its way, where it
was sent to.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import FRAMES, ConventionError, multiply, rotate
from vla_infoentropy_ros.control.faults import NO_SOLUTION, STALE_STATE, Fault
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.control.limits import keep_inside
from vla_infoentropy_ros.control.resampling import Command
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.continuity import SAG, SAG_TURN, Continuity, HandAt, JointsAt
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState

_REMEMBERED = 1024  # commands: seconds at any rate
_STOP_S = 0.1  # time an arm is given to stand still where it is
_HEARD_PERIODS = 2.0  # of command.rate_hz: what is older is not where a moving arm is now
_OUTSIDE = 0.002  # m: how far joints that cannot follow quite may take the hand out of its box


@dataclass(frozen=True)
class Target:
    """frame_id: TF name of the frame it is given in."""

    frame_id: str


@dataclass(frozen=True)
class Velocity(Target):
    """twist: (6,) m/s, rad/s."""

    twist: NDArray[np.float64]


@dataclass(frozen=True)
class HandPose(Target):
    """The next pose of the end effector."""

    pose: Pose


@dataclass(frozen=True)
class JointPositions(Target):
    """positions: (n,) rad or m of the named joints, to be reached after ``duration_s``."""

    names: tuple[str, ...]
    positions: NDArray[np.float64]
    duration_s: float


class _Way:
    """How far the velocities that were sent lately have carried the hand."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=_REMEMBERED)

    def send(self, now_s: float, velocity: NDArray[np.float64]) -> None:
        """From now on ``velocity`` (3,) m/s."""
        self._sent.append((now_s, velocity))

    def since(self, now_s: float, age_s: float) -> NDArray[np.float64]:
        """(3,) m within the last ``age_s``."""
        gone, until_s, begin_s = np.zeros(3), now_s, now_s - age_s
        for at_s, velocity in reversed(self._sent):
            gone += velocity * max(0.0, until_s - max(at_s, begin_s))
            until_s = at_s
            if at_s <= begin_s:
                break
        return gone


class TwistAim:
    """Velocities, and the workspace, which is the same for all."""

    def __init__(self, state: RobotState) -> None:
        self._state, self._way = state, _Way()
        self._continuity: Continuity[Any] = Continuity()
        self.frame_id = self.base_frame = ""
        self.end_effector_frame = False

    def set_frame(self, frame_convention: str, settings: CommandSettings) -> None:
        """frame_convention: one of `FRAMES`; gives commands their TF name. Raises
        ConventionError."""
        if frame_convention not in FRAMES:
            raise ConventionError(f"frame={frame_convention!r} is not among {', '.join(FRAMES)}")
        self.end_effector_frame = frame_convention == "end_effector"
        self.base_frame = settings.base_frame
        self._state.configure(settings)
        self.frame_id = settings.tool_frame if self.end_effector_frame else settings.base_frame

    def forget(self) -> None:
        """As `Continuity.forget`."""
        self._continuity.forget()

    def leap(self) -> str:
        """Why the arm cannot be where it is heard, one sentence; "" where it can."""
        here = None if self._continuity.forgotten else self._here()
        return "" if here is None else self._continuity.leap(here)

    def _here(self) -> Any:
        """The `Place` at which the arm is heard, where that matters; else None."""
        return None

    def prepare(self, settings: CommandSettings) -> None:
        """Whatever takes long and needs no command: called before `plan`, and without its lock."""

    def plan(self, command: Command, settings: CommandSettings, now_s: float) -> Fault | None:
        """Aim for a new command; the fault that forbids it, if any. now_s: as commands last."""
        return None

    def target(self, command: Command, now_s: float) -> Target | None:
        """What to send for a command that was planned, or for zero; None: nothing is known."""
        self._way.send(now_s, command.twist[:3])
        return self._target(command, now_s)

    def _target(self, command: Command, now_s: float) -> Target | None:
        return Velocity(self.frame_id, command.twist)

    def inside_workspace(
        self, twist: NDArray[np.float64], settings: CommandSettings, hold_s: float, now_s: float
    ) -> NDArray[np.float64] | Fault:
        """The twist (6,), cut so that the hand stays in the workspace; a fault without a pose."""
        if not settings.limit_workspace:
            return twist
        pose = self._state.pose(settings.pose_timeout_s)
        if isinstance(pose, Fault):
            return pose
        gone = self._way.since(now_s, self._state.pose_age_s)
        if not self.end_effector_frame:
            line = keep_inside(twist[:3], pose.position, settings, hold_s, gone)
        else:
            w, x, y, z = pose.orientation
            in_base, gone = (rotate(pose.orientation, each) for each in (twist[:3], gone))
            kept = keep_inside(in_base, pose.position, settings, hold_s, gone)
            line = rotate((w, -x, -y, -z), kept)
        return np.concatenate([line, twist[3:]])


class PoseAim(TwistAim):
    """The next pose of the end effector, in the base frame.

    Reckoned on from where the last command should have brought it by now, as long as it is about
    there: an arm that sags a little below what it is told would else sink with every action.
    """

    def __init__(self, state: RobotState) -> None:
        super().__init__(state)
        self._begun: tuple[Pose, Command, float] | None = None  # from where, by what, since when
        self._goal: Pose | None = None
        self._heard_s = 0.0
        self._rest: Pose | None = None  # where it was stopped, if it was
        self._settings = CommandSettings()

    def _here(self) -> HandAt | None:
        here = self._state.last_pose
        return None if here is None else HandAt(here, self._state.pose_heard, self._settings)

    def plan(self, command: Command, settings: CommandSettings, now_s: float) -> Fault | None:
        here = self._state.pose(settings.pose_timeout_s)
        if isinstance(here, Fault):
            return here
        self._settings = settings
        self._continuity.begin()
        if leap := self.leap():
            return Fault(STALE_STATE, leap)
        self._heard_s = _HEARD_PERIODS / settings.rate_hz
        start = self._reckoned(now_s)
        if start is None or not (self._unheard_since_begun(now_s) or _near(start, here)):
            start = here
        self._begun, self._rest = (start, command, now_s), None
        goal = self._moved(start, command.twist * command.period_s)
        if settings.limit_workspace:  # a hand that is outside already goes no further
            low = np.minimum(settings.workspace_low, here.position)
            high = np.maximum(settings.workspace_high, here.position)
            goal = replace(goal, position=np.clip(goal.position, low, high))
        self._goal = goal
        return None

    def _unheard_since_begun(self, now_s: float) -> bool:
        """What is heard of the hand is older than the motion in progress. Reckoning on although it
        was heard since would never see that an arm is held up."""
        begun_s = now_s if self._begun is None else self._begun[2]
        return self._state.pose_age_s > max(self._heard_s, now_s - begun_s)

    def _reckoned(self, now_s: float) -> Pose | None:
        if self._begun is None:
            return None
        start, command, since_s = self._begun
        return self._moved(start, command.twist * min(now_s - since_s, command.period_s))

    def _moved(self, start: Pose, motion: NDArray[np.float64]) -> Pose:
        """After a motion (6,) m, rad in the frame that commands are in."""
        line, spin = motion[:3], _quaternion(motion[3:])
        if self.end_effector_frame:
            line, after = rotate(start.orientation, line), multiply(start.orientation, spin)
        else:
            after = multiply(spin, start.orientation)
        return Pose(start.position + line, after)

    def _target(self, command: Command, now_s: float) -> Target | None:
        if command.period_s:
            return None if self._goal is None else HandPose(self.base_frame, self._goal)
        here, reckoned = self._state.last_pose, self._reckoned(now_s)
        place = self._here()
        if place is not None and (self._state.pose_age_s > self._heard_s
                                  or self._continuity.leap(place)):
            here = reckoned or self._rest or here
        self._begun, self._rest = None, here
        return None if here is None else HandPose(self.base_frame, here)


class JointAim(TwistAim):
    """The next joint positions, by the chain that robot_description holds."""

    def __init__(self, state: RobotState) -> None:
        super().__init__(state)
        self._described: tuple[str, str, str] | None = None
        self._chain: Chain | None = None  # the last that could be read
        self._start = np.empty(0)  # of the goal, which an arm is stopped by
        self._goal = JointPositions("", (), np.empty(0), 0.0)
        self._due_s = self._least_s = 0.0  # when the goal is to be reached; a turn of the timer
        self._rest: NDArray[np.float64] | None = None  # where it was stopped, if it was
        self._problem: Fault | None = Fault(
            STALE_STATE,
            "robot_description never arrived; start robot_state_publisher, or use "
            "command.output twist or pose",
        )

    def _here(self) -> JointsAt | None:
        chain, state = self._chain, self._state
        here = None if chain is None else state.last_joints(chain.names)
        if chain is None or here is None:
            return None
        return JointsAt(chain.movable, here, state.joints_heard(chain.names))

    def prepare(self, settings: CommandSettings) -> None:
        described = self._state.description, settings.base_frame, settings.tool_frame
        if not described[0] or described == self._described:
            return
        self._described = described
        try:
            self._chain, self._problem = Chain.from_urdf(*described), None
        except KinematicsError as error:
            self._problem = Fault(NO_SOLUTION, str(error))

    def plan(self, command: Command, settings: CommandSettings, now_s: float) -> Fault | None:
        chain = self._chain
        if chain is None or self._problem is not None:
            return self._problem
        positions = self._state.joints(chain.names, settings.pose_timeout_s)
        if isinstance(positions, Fault):
            return positions
        self._continuity.begin()
        if leap := self.leap():
            return Fault(STALE_STATE, leap)
        under_way = self._goal.names == chain.names and self._rest is None
        if under_way and self._unheard(now_s - self._due_s + self._goal.duration_s):
            positions = self._reckoned(now_s)
        motion = command.twist * command.period_s
        try:
            if self.end_effector_frame:
                turn, _ = chain.forward(positions)
                motion = np.concatenate([turn @ motion[:3], turn @ motion[3:]])
            goal = chain.step(positions, motion, command.period_s)
        except KinematicsError as error:
            return Fault(NO_SOLUTION, str(error))
        if settings.limit_workspace and (fault := _leaves(chain, positions, goal, settings)):
            return fault
        self._goal = JointPositions(self.frame_id, chain.names, goal, command.period_s)
        self._start, self._rest = positions, None
        self._due_s, self._least_s = now_s + command.period_s, 1.0 / settings.rate_hz
        return None

    def _target(self, command: Command, now_s: float) -> Target | None:
        if command.period_s:
            # A controller sets out anew with each message: what is repeated has less time left.
            return replace(self._goal, duration_s=max(self._due_s - now_s, self._least_s))
        names = self._goal.names
        positions = self._state.last_joints(names)
        if not names or positions is None:
            return None
        place = self._here()
        if self._unheard() or (place is not None and self._continuity.leap(place)):
            positions = self._reckoned(now_s) if self._rest is None else self._rest
        self._rest = positions
        return JointPositions(self.frame_id, names, positions, _STOP_S)

    def _unheard(self, begun_s: float = 0.0) -> bool:
        """What is heard of the joints is older than a motion that began so long ago. Reckoning on
        although they were heard since would never see that an arm is held up."""
        longest_s = max(_HEARD_PERIODS * self._least_s, begun_s)
        return self._state.joints_age_s(self._goal.names) > longest_s

    def _reckoned(self, now_s: float) -> NDArray[np.float64]:
        """Where the goal that was sent should have brought the joints by now."""
        left = max(0.0, self._due_s - now_s) / max(self._goal.duration_s, 1e-9)
        return self._goal.positions + min(1.0, left) * (self._start - self._goal.positions)


AIMS: dict[str, type[TwistAim]] = {"twist": TwistAim, "pose": PoseAim, "trajectory": JointAim}
"""By command.output."""


def _leaves(
    chain: Chain, here: NDArray[np.float64], goal: NDArray[np.float64], settings: CommandSettings
) -> Fault | None:
    """The fault where joint positions (n,) would take the hand out of the workspace: joints that
    cannot follow a motion quite go another way."""
    low, high = np.array(settings.workspace_low), np.array(settings.workspace_high)
    before, after = (
        float(np.linalg.norm(place - np.clip(place, low, high)))
        for place in (chain.forward(joints)[1] for joints in (here, goal))
    )
    if after <= max(before, _OUTSIDE):
        return None
    return Fault(
        NO_SOLUTION,
        f"the hand would go {1e3 * after:.1f} mm out of command.workspace_low .. workspace_high, "
        "as the arm cannot follow the action in this pose; move it to another one, or enlarge "
        "the workspace",
    )


def _near(one: Pose, other: Pose) -> bool:
    way, turn = one.apart(other)
    return way <= SAG and turn <= SAG_TURN


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation vector (3,) rad to (w, x, y, z)."""
    angle = float(np.linalg.norm(turn))
    scale = math.sin(angle / 2.0) / angle if angle > 1e-12 else 0.5
    return (math.cos(angle / 2.0), *(float(part) * scale for part in turn))  # type: ignore[return-value]
