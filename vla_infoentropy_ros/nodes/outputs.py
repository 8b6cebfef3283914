# SPDX-License-Identifier: Apache-2.0
"""Command topics of the arm, and what the gripper understands."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Pose, PoseStamped, TwistStamped
from rclpy.duration import Duration
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.aims import HandPose, JointPositions, Target, Velocity
from vla_infoentropy_ros.driving.sources import Crowd
from vla_infoentropy_ros.nodes.grippers import Gripper, make_gripper
from vla_infoentropy_ros.nodes.messages import to_duration, to_time, to_twist_stamped
from vla_infoentropy_ros.nodes.publishers import crowd
from vla_infoentropy_ros.nodes.qos import NEWEST
from vla_infoentropy_ros.nodes.servo_client import ServoClient

_FLUSH = Duration(seconds=0.2)

# by command.output: topic and type
_TOPICS: dict[str, tuple[str, Any]] = {
    "twist": ("twist_command", TwistStamped),
    "pose": ("pose_command", PoseStamped),
    "trajectory": ("joint_trajectory", JointTrajectory),
}


class CommandPublishers:
    """A `driving.sink.CommandSink`: the publishers exist only while it is open."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._arm: Any = None
        self._gripper: Gripper | None = None
        self._servo: ServoClient | None = None

    def open(self, settings: CommandSettings) -> None:
        topic, kind = _TOPICS[settings.output]
        if self._arm is not None:
            return
        try:
            self._arm = self._node.create_publisher(kind, topic, NEWEST)
            self._gripper = make_gripper(self._node, settings)
            self._servo = ServoClient(self._node, settings) if settings.asks_servo else None
        except BaseException:
            self.close()  # an arm that is commanded without what guards it would be worse
            raise

    def close(self) -> None:
        arm, parts = self._arm, (self._gripper, self._servo)
        self._arm = self._gripper = self._servo = None
        if arm is not None:
            self._node.destroy_publisher(arm)
        for part in parts:
            if part is not None:
                part.close()

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

    def unheard(self) -> str:
        """Where the arm's topic has no subscriber."""
        arm = self._arm
        if arm is None or arm.get_subscription_count():
            return ""
        return (f"nobody listens to {arm.topic_name}: start the arm's controller, or remap the "
                "topic to the one that it listens to")

    def rivals(self) -> Crowd | None:
        """Who publishes on the command topic, where that is not this node alone."""
        arm = self._arm
        return None if arm is None else crowd(self._node, arm.topic_name)

    def send(self, target: Target, stamp_ns: int) -> None:
        arm, servo = self._arm, self._servo
        if arm is not None:
            arm.publish(to_command(target, stamp_ns))
        if servo is not None and isinstance(target, Velocity):
            servo.sent(bool(target.twist.any()))

    def grip(self, opening: float, settings: CommandSettings) -> None:
        if self._gripper is not None:
            self._gripper.send(opening, settings)

    def forget_grip(self) -> None:
        if self._gripper is not None:
            self._gripper.forget()

    def fault(self) -> Fault | None:
        parts = (self._servo, self._gripper)
        return next((fault for part in parts if part and (fault := part.fault())), None)

    def flush(self) -> None:
        if self._arm is not None:
            self._arm.wait_for_all_acked(_FLUSH)


def to_command(target: Target, stamp_ns: int) -> TwistStamped | PoseStamped | JointTrajectory:
    """The message that tells an arm its target."""
    if isinstance(target, Velocity):
        return to_twist_stamped(target.twist, stamp_ns, target.frame_id)
    header = Header(stamp=to_time(stamp_ns), frame_id=target.frame_id)
    if isinstance(target, HandPose):
        pose = Pose()
        at, turn = pose.position, pose.orientation
        at.x, at.y, at.z = (float(value) for value in target.pose.position)
        turn.w, turn.x, turn.y, turn.z = (float(value) for value in target.pose.orientation)
        return PoseStamped(header=header, pose=pose)
    assert isinstance(target, JointPositions)
    point = JointTrajectoryPoint(
        positions=[float(value) for value in target.positions],
        time_from_start=to_duration(round(target.duration_s * 1e9)),
    )
    return JointTrajectory(header=header, joint_names=list(target.names), points=[point])
