# SPDX-License-Identifier: Apache-2.0
"""What stands between policy_node and the gantry of config/tabletop.sdf, as Servo does at an arm.

Velocities become set points of its joints, which Gazebo holds: a hand whose commands stop stands
still, and so it does when this node is killed. Timed by ROS time, so with the simulation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Header

from vla_infoentropy_ros.knobs import check_knobs, knob
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.parameters import at_start_only, declare_group
from vla_infoentropy_ros.nodes.policy_link import BASE_FRAME
from vla_infoentropy_ros.nodes.qos import NEWEST, QUEUE
from vla_infoentropy_ros.nodes.runtime import run, spin
from vla_infoentropy_ros.sim.gantry import FASTEST, advance
from vla_infoentropy_ros.sim.scene import FINGER_OPEN, GANTRY_HOME

AXES = ("x", "y", "z", "yaw")
HOME = np.array([*GANTRY_HOME, 0.0])


@dataclass(frozen=True)
class GantrySettings:
    """Raises SettingError for a bad value."""

    rate_hz: float = knob(50.0, "set points per second", low=10.0, high=500.0)
    command_timeout_s: float = knob(
        0.1, "a twist whose stamp is further from now is not followed, s", low=0.02, high=10.0
    )

    def __post_init__(self) -> None:
        check_knobs(self)


class GantryNode(Node):
    """twist_command, gripper_command and joint_states in; set points and ee_pose out."""

    busy = False

    def __init__(self, **options: Any) -> None:
        super().__init__("gantry_node", **options)
        self._settings = declare_group(self, GantrySettings)
        self.add_on_set_parameters_callback(at_start_only)
        self._joints: JointState | None = None  # the newest; Gazebo tells them with every step
        self._here: np.ndarray | None = None
        self._goal = HOME.copy()
        self._twist = (np.zeros(4), 0)
        self._opening = FINGER_OPEN
        self._axes = {
            axis: self.create_publisher(Float64, f"gantry/{axis}", NEWEST) for axis in AXES
        }
        self._fingers = self.create_publisher(Float64, "gantry/fingers", NEWEST)
        self._pose = self.create_publisher(PoseStamped, "ee_pose", NEWEST)
        self.create_subscription(TwistStamped, "twist_command", self._on_twist, QUEUE)
        self.create_subscription(Float64, "gripper_command", self._on_gripper, QUEUE)
        self.create_subscription(JointState, "joint_states", self._on_joints, NEWEST)
        self.create_timer(1.0 / self._settings.rate_hz, self.tick)

    def start(self) -> None:
        """Nothing to be done before spinning."""

    def stop(self) -> None:
        """Gazebo holds the last set point."""

    def loop(self, executor: Any, stopping: Any) -> None:
        spin(executor, stopping)

    def _on_twist(self, message: TwistStamped) -> None:
        frame = message.header.frame_id
        twist = from_twist(message.twist)[[0, 1, 2, 5]]
        if frame != BASE_FRAME or not np.isfinite(twist).all():
            self._twist = np.zeros(4), 0
            self.get_logger().error(
                f"twist_command in frame {frame!r}, {twist.tolist()}: need finite m/s, rad/s in "
                f"{BASE_FRAME!r}; set command.base_frame of policy_node",
                throttle_duration_sec=2.0,
            )
            return
        self._twist = np.clip(twist, -FASTEST, FASTEST), to_ns(message.header.stamp)

    def _on_gripper(self, message: Float64) -> None:
        self._opening = FINGER_OPEN if message.data > 0.5 else 0.0

    def _on_joints(self, message: JointState) -> None:
        self._joints = message

    def _look(self) -> None:
        """Where the hand is, by the newest joints, if there are any that were not looked at."""
        message, self._joints = self._joints, None
        if message is None:
            return
        at = dict(zip(message.name, message.position, strict=False))
        if not all(axis in at and math.isfinite(at[axis]) for axis in AXES):
            return
        here = HOME + [at[axis] for axis in AXES]
        if self._here is None:
            self._goal = here.copy()
        self._here = here
        self._tell_pose(here, message.header.stamp)

    def tick(self) -> None:
        """One pose and one set point, once the joints are known."""
        self._look()
        if self._here is None:
            return
        speeds, stamp_ns = self._twist
        now_ns = self.get_clock().now().nanoseconds
        # Ahead by as much: of a time before the world was set back.
        if abs(now_ns - stamp_ns) >= self._settings.command_timeout_s * 1e9:
            speeds = np.zeros(4)
        advance(self._goal, speeds / self._settings.rate_hz, self._here[:3])
        for axis, value in zip(AXES, self._goal - HOME, strict=True):
            self._axes[axis].publish(Float64(data=float(value)))
        self._fingers.publish(Float64(data=self._opening))

    def _tell_pose(self, here: np.ndarray, stamp: Any) -> None:
        message = PoseStamped(header=Header(stamp=stamp, frame_id=BASE_FRAME))
        at, turn = message.pose.position, message.pose.orientation
        at.x, at.y, at.z = (float(value) for value in here[:3])
        turn.z, turn.w = math.sin(here[3] / 2.0), math.cos(here[3] / 2.0)
        self._pose.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``gantry_node``."""
    return run("gantry_node", GantryNode, args)


if __name__ == "__main__":
    sys.exit(main())
