# SPDX-License-Identifier: Apache-2.0
"""Command topics of the arm: velocities here, poses and joint positions in position_outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.duration import Duration

from vla_infoentropy_ros.control.conventions import rotate
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.limits import keep_inside
from vla_infoentropy_ros.control.resampling import Command
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.nodes.grippers import Gripper, make_gripper
from vla_infoentropy_ros.nodes.messages import to_twist_stamped
from vla_infoentropy_ros.nodes.qos import NEWEST
from vla_infoentropy_ros.nodes.robot_state import RobotState

_FLUSH = Duration(seconds=0.2)


class Output:
    """Publishes commands as velocities: twist_command, and what the gripper understands.

    The publishers exist only while the node is not in dry run: a dry run beside a live controller
    cannot be mistaken for a second commander, and cannot command even by a bug.
    """

    topic = "twist_command"
    message_type: Any = TwistStamped

    def __init__(self, node: Any, state: RobotState) -> None:
        self._node, self._state = node, state
        self._arm: Any = None
        self._gripper: Gripper | None = None
        self.frame_id = self.base_frame = ""
        self.end_effector_frame = False

    def set_frame(self, frame_convention: str, settings: CommandSettings) -> None:
        """frame_convention: "base" or "end_effector"; gives commands their TF name."""
        self.end_effector_frame = frame_convention != "base"
        self.base_frame = settings.base_frame
        self._state.set_frame(settings.base_frame)
        self.frame_id = settings.tool_frame if self.end_effector_frame else settings.base_frame

    def open(self, settings: CommandSettings) -> None:
        """Create the command publishers."""
        if self._arm is None:
            self._arm = self._node.create_publisher(self.message_type, self.topic, NEWEST)
            self._gripper = make_gripper(self._node, settings)

    def close(self) -> None:
        """Remove the command publishers."""
        arm, gripper, self._arm, self._gripper = self._arm, self._gripper, None, None
        if arm is not None:
            self._node.destroy_publisher(arm)
        if gripper is not None:
            gripper.close()

    @property
    def closed(self) -> bool:
        """There is no command publisher."""
        return self._arm is None

    def listeners(self) -> bool:
        """Arm and gripper both have a subscriber."""
        arm, gripper = self._arm, self._gripper
        return bool(
            arm is not None
            and arm.get_subscription_count()
            and gripper is not None
            and gripper.listeners()
        )

    def rivals(self) -> int:
        """Publishers on the command topic besides ours."""
        # By its remapped name: rclpy counts the name that it is given.
        count = int(self._node.count_publishers(self._node.resolve_topic_name(self.topic)))
        return max(0, count - (self._arm is not None))

    def now_ns(self) -> int:
        """ROS time."""
        return int(self._node.get_clock().now().nanoseconds)

    def plan(self, command: Command, settings: CommandSettings) -> Fault | None:
        """Prepare a new command; the fault that forbids it, if any."""
        return None if self._gripper is None else self._gripper.fault()

    def send(self, command: Command, stamp_ns: int) -> None:
        """Publish a command to the arm."""
        if self._arm is None:
            return
        message = self._message(command, stamp_ns)
        if message is not None:
            self._arm.publish(message)

    def grip(self, opening: float, settings: CommandSettings) -> None:
        """Tell the gripper how far to open, 0 .. 1."""
        if self._gripper is not None:
            self._gripper.send(opening, settings)

    def forget_grip(self) -> None:
        """The robot has stopped: whatever the gripper is told next is new."""
        if self._gripper is not None:
            self._gripper.forget()

    def _message(self, command: Command, stamp_ns: int) -> Any:
        return to_twist_stamped(command.twist, stamp_ns, self.frame_id)

    def flush(self) -> None:
        """Wait until what was sent has arrived, for a publisher that is about to go."""
        if self._arm is not None:
            self._arm.wait_for_all_acked(_FLUSH)

    def inside_workspace(
        self, twist: NDArray[np.float64], settings: CommandSettings, hold_s: float
    ) -> NDArray[np.float64] | Fault:
        """The twist (6,), cut so that the hand stays in the workspace; a fault without a pose."""
        if not settings.limit_workspace:
            return twist
        pose = self._state.pose(settings.pose_timeout_s)
        if isinstance(pose, Fault):
            return pose
        at, turn = pose.pose.position, pose.pose.orientation
        position = np.array([at.x, at.y, at.z])
        if not self.end_effector_frame:
            line = keep_inside(twist[:3], position, settings, hold_s)
        else:
            to_base = (turn.w, turn.x, turn.y, turn.z)
            to_tool = (turn.w, -turn.x, -turn.y, -turn.z)
            kept = keep_inside(rotate(to_base, twist[:3]), position, settings, hold_s)
            line = rotate(to_tool, kept)
        return np.concatenate([line, twist[3:]])
