# SPDX-License-Identifier: Apache-2.0
"""Commands as positions: the next pose of the end effector, or the next joint positions.

The target of an action is reckoned from where the arm is when the action is issued, so errors do
not add up. To stop is to ask for where the arm is now.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, PoseStamped
from numpy.typing import NDArray
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_infoentropy_ros.control.conventions import multiply, rotate
from vla_infoentropy_ros.control.faults import NO_SOLUTION, STALE_STATE, Fault
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.control.resampling import Command
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.nodes.messages import to_time
from vla_infoentropy_ros.nodes.outputs import Output
from vla_infoentropy_ros.nodes.robot_state import RobotState

_STOP_S = 0.1  # time an arm is given to stand still where it is


class PoseOutput(Output):
    """pose_command: geometry_msgs/PoseStamped in the base frame."""

    topic, message_type = "pose_command", PoseStamped

    def __init__(self, node: Any, state: RobotState) -> None:
        super().__init__(node, state)
        self._target: Pose | None = None

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        return super().plan(command, settings) or self._aim(command, settings)

    def _aim(self, command: Command, settings: CommandSettings) -> Fault | None:
        here = self._state.pose(settings.pose_timeout_s)
        if isinstance(here, Fault):
            return here
        at, turn = here.pose.position, here.pose.orientation
        orientation = (turn.w, turn.x, turn.y, turn.z)
        motion = command.twist * command.period_s
        line, spin = motion[:3], _quaternion(motion[3:])
        if self.end_effector_frame:
            line, after = rotate(orientation, line), multiply(orientation, spin)
        else:
            after = multiply(spin, orientation)
        target = Pose()
        place = target.position
        place.x, place.y, place.z = at.x + line[0], at.y + line[1], at.z + line[2]
        turned = target.orientation
        turned.w, turned.x, turned.y, turned.z = after
        self._target = target
        return None

    def _message(self, command: Command, stamp_ns: int) -> PoseStamped | None:
        last = self._state.last_pose
        target = self._target if command.period_s else last and last.pose
        if target is None:
            return None
        header = Header(stamp=to_time(stamp_ns), frame_id=self.base_frame)
        return PoseStamped(header=header, pose=target)


class TrajectoryOutput(Output):
    """joint_trajectory: trajectory_msgs/JointTrajectory with one point, for ros2_control."""

    topic, message_type = "joint_trajectory", JointTrajectory

    def __init__(self, node: Any, state: RobotState) -> None:
        super().__init__(node, state)
        self._chain: tuple[tuple[str, str, str], Chain] | None = None
        self._target: NDArray[np.float64] | None = None

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        return super().plan(command, settings) or self._aim(command, settings)

    def _aim(self, command: Command, settings: CommandSettings) -> Fault | None:
        try:
            chain = self._arm_chain(settings)
            if chain is None:
                return Fault(
                    STALE_STATE,
                    "robot_description never arrived; start "
                    "robot_state_publisher, or use command.output twist or pose",
                )
            positions = self._state.joints(chain.names, settings.pose_timeout_s)
            if isinstance(positions, Fault):
                return positions
            motion = command.twist * command.period_s
            if self.end_effector_frame:
                turn, _ = chain.forward(positions)
                motion = np.concatenate([turn @ motion[:3], turn @ motion[3:]])
            self._target = chain.step(positions, motion, command.period_s)
        except KinematicsError as error:
            return Fault(NO_SOLUTION, str(error))
        return None

    def _arm_chain(self, settings: CommandSettings) -> Chain | None:
        key = (self._state.description, settings.base_frame, settings.tool_frame)
        if not key[0]:
            return None
        if self._chain is None or self._chain[0] != key:
            self._chain = key, Chain.from_urdf(*key)
        return self._chain[1]

    def _message(self, command: Command, stamp_ns: int) -> JointTrajectory | None:
        if self._chain is None:
            return None
        names, moving = self._chain[1].names, command.period_s > 0.0
        positions = self._target if moving else self._state.last_joints(names)
        if positions is None:
            return None
        duration_ns = round((command.period_s if moving else _STOP_S) * 1e9)
        point = JointTrajectoryPoint(
            positions=[float(value) for value in positions],
            time_from_start=Duration(
                sec=duration_ns // 1_000_000_000, nanosec=duration_ns % 1_000_000_000
            ),
        )
        header = Header(stamp=to_time(stamp_ns), frame_id=self.frame_id)
        return JointTrajectory(header=header, joint_names=list(names), points=[point])


OUTPUTS: dict[str, type[Output]] = {
    "twist": Output,
    "pose": PoseOutput,
    "trajectory": TrajectoryOutput,
}


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Rotation vector (3,) rad to (w, x, y, z)."""
    angle = float(np.linalg.norm(turn))
    scale = math.sin(angle / 2.0) / angle if angle > 1e-12 else 0.5
    return (math.cos(angle / 2.0), *(float(part) * scale for part in turn))  # type: ignore[return-value]
