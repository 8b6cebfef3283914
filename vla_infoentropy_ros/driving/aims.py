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

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import FRAMES, ConventionError, multiply, rotate
from vla_infoentropy_ros.control.faults import NO_SOLUTION, STALE_STATE, Fault
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.control.limits import keep_inside
from vla_infoentropy_ros.control.resampling import Command
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.robot_state import Heard, Pose, RobotState

_REMEMBERED = 1024  # commands: seconds at any rate
_SAG, _SAG_TURN = 0.02, 0.1  # m, rad: how far a hand may be from where it should be
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
        """Somebody may have brought the arm elsewhere: the next command may begin anywhere. A stop
        that is in progress still goes by what was heard."""

    def leap(self) -> str:
        """Why the arm cannot be where it is heard, by where it was heard before; "" where it can,
        which is remembered. To be asked in every turn, since the longer ago, the further it can
        have gone."""
        return ""

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
        self._last: tuple[Pose, Heard] | None = None
        self._forgotten = False

    def forget(self) -> None:
        self._forgotten = True

    def leap(self) -> str:
        here = self._state.last_pose
        return "" if here is None or self._forgotten else self._leap(here)

    def plan(self, command: Command, settings: CommandSettings, now_s: float) -> Fault | None:
        here = self._state.pose(settings.pose_timeout_s)
        if isinstance(here, Fault):
            return here
        self._settings = settings
        if self._forgotten:
            self._last, self._forgotten = None, False
        if leap := self._leap(here):
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

    def _leap(self, here: Pose) -> str:
        """As `leap`: a hand cannot have gone further than an action and what its speed allows. A
        wrong reading would else be where the next goal, or the stop, is reckoned from."""
        heard = self._state.pose_heard
        if self._last is not None:
            before, then = self._last
            settings, for_s = self._settings, heard.since_s(then)
            way, turn = _apart(before, here)
            if (way > _SAG + settings.max_step_translation + settings.max_linear_speed * for_s
                    or turn > _SAG_TURN + settings.max_step_rotation
                    + settings.max_angular_speed * for_s):
                return _leapt("the pose of the hand", f"{way:.3f} m and {turn:.2f} rad", for_s)
        self._last = here, heard
        return ""

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
        if here is not None and (self._state.pose_age_s > self._heard_s
                                 or self._leap(here)):
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
        self._last: tuple[tuple[str, ...], NDArray[np.float64], list[Heard]] | None = None
        self._forgotten = False
        self._problem: Fault | None = Fault(
            STALE_STATE,
            "robot_description never arrived; start robot_state_publisher, or use "
            "command.output twist or pose",
        )

    def forget(self) -> None:
        self._forgotten = True

    def leap(self) -> str:
        chain = self._chain
        if chain is None or chain.names != self._goal.names or self._forgotten:
            return ""
        here = self._state.last_joints(chain.names)
        return "" if here is None else self._leap(chain, here)

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
        if self._forgotten:
            self._last, self._forgotten = None, False
        if leap := self._leap(chain, positions):
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
        chain = self._chain
        leapt = chain is not None and chain.names == names and self._leap(chain, positions)
        if self._unheard() or leapt:
            positions = self._reckoned(now_s) if self._rest is None else self._rest
        self._rest = positions
        return JointPositions(self.frame_id, names, positions, _STOP_S)

    def _leap(self, chain: Chain, here: NDArray[np.float64]) -> str:
        """As of `PoseAim`, by the joints' own limits of speed; two drivers may tell them."""
        heard = self._state.joints_heard(chain.names)
        if self._last is not None and self._last[0] == chain.names:
            _, before, then = self._last
            for joint, was, then_at, now, at in zip(
                    chain.movable, before, then, here, heard, strict=True):
                way, for_s = abs(now - was), at.since_s(then_at)
                if joint.kind == "continuous":  # may be told within one turn
                    way = abs(math.remainder(way, 2.0 * math.pi))
                slack, unit = (_SAG, "m") if joint.kind == "prismatic" else (_SAG_TURN, "rad")
                if way > slack + joint.speed * for_s:
                    return _leapt(f"joint {joint.name}", f"{way:.3f} {unit}", for_s)
        self._last = chain.names, here, heard
        return ""

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


def _leapt(what: str, way: str, for_s: float) -> str:
    return (f"{what} was heard {way} from where it was {1e3 * for_s:.0f} ms before, further than "
            "it can go: look for a second publisher, a driver that restarts, or another arm's "
            "state")


def _near(one: Pose, other: Pose) -> bool:
    way, turn = _apart(one, other)
    return way <= _SAG and turn <= _SAG_TURN


def _apart(one: Pose, other: Pose) -> tuple[float, float]:
    """m, rad."""
    alike = abs(float(np.dot(one.orientation, other.orientation)))
    return (float(np.linalg.norm(one.position - other.position)),
            2.0 * math.acos(min(1.0, alike)))


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation vector (3,) rad to (w, x, y, z)."""
    angle = float(np.linalg.norm(turn))
    scale = math.sin(angle / 2.0) / angle if angle > 1e-12 else 0.5
    return (math.cos(angle / 2.0), *(float(part) * scale for part in turn))  # type: ignore[return-value]
