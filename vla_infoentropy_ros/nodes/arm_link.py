# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm's end of the topics: what a driver publishes, what its controllers take."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, TwistStamped, Vector3
from moveit_msgs.msg import ServoStatus
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.servo import TwistCommand
from vla_infoentropy_ros.arms.trajectory import Point, TrajectoryError
from vla_infoentropy_ros.control.conventions import matrix_quaternion
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns, to_time
from vla_infoentropy_ros.nodes.policy_link import PolicyLink
from vla_infoentropy_ros.nodes.qos import LATCHED, QUEUE


class ArmLink(PolicyLink):
    """Commands go straight to the arm; its joints and frames come back. The hand's pose is told by
    TF alone, as drivers do."""

    def __init__(self, node: Any, policy: str, arm: StandInArm) -> None:
        self._arm = arm
        self._told_ns = 0
        super().__init__(node, policy)
        publisher = node.create_publisher
        self._joints = publisher(JointState, "joint_states", QUEUE)
        self._tf = publisher(TFMessage, "/tf", QUEUE)
        description = publisher(String, "robot_description", LATCHED)
        description.publish(String(data=arm.model.urdf))
        publisher(TFMessage, "/tf_static", LATCHED).publish(self._frames(0, moving=False))
        by_servo = arm.output == "twist"
        self._servo = publisher(ServoStatus, "~/status", QUEUE) if by_servo else None

    def _listen(self, node: Any) -> Any:
        subscribe = node.create_subscription
        if self._arm.output == "trajectory":
            return subscribe(JointTrajectory, "joint_trajectory", self._on_trajectory, QUEUE)
        return subscribe(TwistStamped, "~/delta_twist_cmds", self._on_twist, QUEUE)

    def _on_twist(self, message: TwistStamped) -> None:
        super()._on_twist(message)
        header = message.header
        frame = header.frame_id.lstrip("/")
        self._arm.servo.hear(TwistCommand(from_twist(message.twist), frame, to_ns(header.stamp)))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        points = [
            Point(tuple(point.positions), to_ns(point.time_from_start)) for point in message.points
        ]
        stamp_ns = to_ns(message.header.stamp)
        try:  # by the arm's own time, which stands still where an episode waits for the policy
            self._arm.follow(message.joint_names, points, stamp_ns, self._told_ns)
        except TrajectoryError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=2.0)

    def tell_pose(self, position: NDArray[np.float64], yaw: float, stamp_ns: int) -> None:
        """By joint states and TF; and what Servo says."""
        arm, self._told_ns = self._arm, stamp_ns
        if self._servo is not None:
            motion = arm.motion
            self._servo.publish(ServoStatus(code=int(motion.status), message=motion.reason))
        self._joints.publish(
            JointState(
                header=Header(stamp=to_time(stamp_ns)),
                name=list(arm.model.chain.names),
                position=[float(value) for value in arm.positions],
            )
        )
        self._tf.publish(self._frames(stamp_ns, moving=True))

    def _frames(self, stamp_ns: int, moving: bool) -> TFMessage:
        """Each link of the chain in the one before it, of the joints that move or the others."""
        chain = self._arm.model.chain
        links, before, transforms = self._arm.frames(), chain.base, []
        for joint in chain.joints:
            if (joint in chain.movable) is moving:
                (turn, place), (to_turn, to_place) = links[before], links[joint.child]
                transforms.append(
                    TransformStamped(
                        header=Header(stamp=to_time(stamp_ns), frame_id=before),
                        child_frame_id=joint.child,
                        transform=_transform(turn.T @ to_turn, turn.T @ (to_place - place)),
                    )
                )
            before = joint.child
        return TFMessage(transforms=transforms)


def _transform(turn: NDArray[np.float64], place: NDArray[np.float64]) -> Transform:
    """Rotation (3, 3) and translation (3,) m."""
    x, y, z = (float(value) for value in place)
    qw, qx, qy, qz = matrix_quaternion(turn)
    return Transform(
        translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(w=qw, x=qx, y=qy, z=qz)
    )
