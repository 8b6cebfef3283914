# SPDX-License-Identifier: Apache-2.0
"""What MoveIt Servo makes of a velocity of the hand: joint speeds, or a halt and the reason.

After the rules of `moveit_servo` 2.12 (Jazzy), with its parameters' names and defaults: command
type, time-out by stamp, units, singularity scaling, joint limits, speed limits. Its smoothing
filter and collision checks are left out; a time-out stops at once instead of within that filter.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.kinematics import Chain
from vla_infoentropy_ros.knobs import check_knobs, knob


class CommandType(enum.IntEnum):
    """moveit_msgs/srv/ServoCommandType."""

    JOINT_JOG = 0
    TWIST = 1
    POSE = 2


class ServoStatus(enum.IntEnum):
    """moveit_msgs/msg/ServoStatus; those of collisions cannot happen here."""

    INVALID = -1
    NO_WARNING = 0
    DECELERATE_FOR_APPROACHING_SINGULARITY = 1
    HALT_FOR_SINGULARITY = 2
    DECELERATE_FOR_LEAVING_SINGULARITY = 3
    JOINT_BOUND = 6


@dataclass(frozen=True)
class ServoSettings:
    """Servo's own parameters. Raises SettingError for a bad value."""

    command_in_type: str = knob(
        "speed_units",
        "unit of incoming commands: speed_units = m/s and rad/s; unitless = -1 .. 1 as from a "
        "joystick, times the scales (what Servo does where nothing is said)",
        choices=("unitless", "speed_units"),
    )
    scale_linear: float = knob(
        0.4, "unitless: m/s of a command of 1; speed_units: the largest, m/s", low=0.0, high=10.0
    )
    scale_rotational: float = knob(
        0.8,
        "unitless: rad/s of a command of 1; speed_units: the largest, rad/s",
        low=0.0,
        high=10.0,
    )
    incoming_command_timeout: float = knob(
        0.1, "a command whose stamp is older is not followed, s", low=0.001, high=10.0
    )
    publish_period: float = knob(0.02, "period of the servo loop, s", low=0.001, high=0.2)
    lower_singularity_threshold: float = knob(
        17.0, "condition number from which the arm slows down", low=1.0, high=1e6
    )
    hard_stop_singularity_threshold: float = knob(
        30.0, "condition number at which it halts", low=1.0, high=1e6
    )
    leaving_singularity_threshold_multiplier: float = knob(
        2.0, "how much farther the two thresholds lie apart on the way out", low=0.001, high=100.0
    )
    joint_limit_margin: float = knob(
        0.1, "rad before a joint's limit at which the arm halts", low=0.0, high=3.0
    )

    def __post_init__(self) -> None:
        check_knobs(self, "moveit_servo.")


@dataclass(frozen=True)
class TwistCommand:
    """twist: (6,) m/s and rad/s, or unitless. frame_id: TF name. stamp_ns: ROS time."""

    twist: NDArray[np.float64]
    frame_id: str
    stamp_ns: int


@dataclass(frozen=True)
class ServoMotion:
    """speeds: (n,) rad/s of the joints. reason: why they are less than asked, one sentence."""

    speeds: NDArray[np.float64]
    status: ServoStatus = ServoStatus.NO_WARNING
    reason: str = ""


class Servo:
    """One arm's servo. frames: TF names that a command may be given in, of links on the chain."""

    def __init__(self, chain: Chain, settings: ServoSettings) -> None:
        self.settings = settings
        self.command_type = CommandType.JOINT_JOG
        self._chain = chain
        self._command: TwistCommand | None = None
        self._still = np.zeros(len(chain.names))

    def switch(self, command_type: int) -> bool:
        """As the service switch_command_type answers."""
        if command_type in set(CommandType):
            self.command_type = CommandType(command_type)
        return command_type == self.command_type

    def hear(self, command: TwistCommand) -> None:
        self._command = command

    def motion(
        self,
        positions: NDArray[np.float64],
        frames: Mapping[str, NDArray[np.float64]],
        now_ns: int,
    ) -> ServoMotion:
        """What the joints at ``positions`` (n,) do now.

        frames: rotation (3, 3) of each known frame in the planning frame, the chain's base.
        """
        command = self._command
        if command is None:
            return ServoMotion(self._still)
        if self.command_type is not CommandType.TWIST:
            self._command = None
            return self._invalid("the command type is not TWIST: call switch_command_type")
        if now_ns - command.stamp_ns >= self.settings.incoming_command_timeout * 1e9:
            self._command = None
            return ServoMotion(self._still)
        if command.frame_id not in frames:
            self._command = None
            return self._invalid(f"no transform from {command.frame_id!r} to the planning frame")
        if not np.isfinite(command.twist).all():
            self._command = None
            return self._invalid("a twist that is not finite")
        turn = frames[command.frame_id]
        twist = np.concatenate([turn @ command.twist[:3], turn @ command.twist[3:]])
        return self._bounded(positions, self._speeds(positions, self._scaled(twist)))

    def _scaled(self, twist: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = []
        scales = self.settings.scale_linear, self.settings.scale_rotational
        for part, scale in zip((twist[:3], twist[3:]), scales, strict=True):
            if self.settings.command_in_type == "unitless":
                parts.append(part * scale)
            else:
                length = float(np.linalg.norm(part))
                parts.append(part * min(1.0, scale / length) if scale and length else part)
        return np.concatenate(parts)

    def _speeds(
        self, positions: NDArray[np.float64], twist: NDArray[np.float64]
    ) -> ServoMotion:
        """By the pseudo-inverse, slower near a singular pose."""
        if not twist.any():
            return ServoMotion(self._still)
        jacobian = self._chain.jacobian(positions)
        speeds = np.linalg.pinv(jacobian) @ twist
        share, status = self._near_singularity(positions, jacobian, twist)
        if status is ServoStatus.NO_WARNING:
            return ServoMotion(speeds)
        told = status.name.lower().replace("_", " ")
        return ServoMotion(share * speeds, status, f"{told}: {share:.0%} of the speed")

    def _near_singularity(
        self, positions: NDArray[np.float64], jacobian: NDArray[np.float64],
        twist: NDArray[np.float64],
    ) -> tuple[float, ServoStatus]:
        """The share of the speed by how far the condition number is between its thresholds."""
        settings = self.settings
        u, values, vt = np.linalg.svd(jacobian, full_matrices=False)
        now = _condition(values)
        towards = u[:, -1]
        ahead = positions + vt.T @ ((u.T @ (0.01 * towards)) / np.maximum(values, 1e-9))
        if _condition(np.linalg.svd(self._chain.jacobian(ahead), compute_uv=False)) <= now:
            towards = -towards
        low, high = settings.lower_singularity_threshold, settings.hard_stop_singularity_threshold
        entering = bool(towards @ twist > 0.0)
        if not entering:
            high = low + (high - low) * settings.leaving_singularity_threshold_multiplier
        if low < now < high:
            slower = ServoStatus.DECELERATE_FOR_APPROACHING_SINGULARITY
            faster = ServoStatus.DECELERATE_FOR_LEAVING_SINGULARITY
            return 1.0 - (now - low) / (high - low), slower if entering else faster
        if now >= high:
            return 0.0, ServoStatus.HALT_FOR_SINGULARITY
        return 1.0, ServoStatus.NO_WARNING

    def _bounded(self, positions: NDArray[np.float64], motion: ServoMotion) -> ServoMotion:
        """Within the joints' speeds; all halt where one comes near its limit."""
        speeds = motion.speeds
        limits = np.array([joint.speed for joint in self._chain.movable])
        speeds = speeds / max(1.0, float(np.max(np.abs(speeds) / limits)))
        margin = self.settings.joint_limit_margin
        for joint, position, speed in zip(self._chain.movable, positions, speeds, strict=True):
            below = speed < 0.0 and position < joint.lower + margin
            if below or (speed > 0.0 and position > joint.upper - margin):
                return ServoMotion(
                    self._still,
                    ServoStatus.JOINT_BOUND,
                    f"{joint.name} at {position:.3f} is close to its limits "
                    f"[{joint.lower:.3f}, {joint.upper:.3f}]: halted",
                )
        return ServoMotion(speeds, motion.status, motion.reason)

    def _invalid(self, reason: str) -> ServoMotion:
        return ServoMotion(self._still, ServoStatus.INVALID, reason)


def _condition(values: NDArray[np.floating[Any]]) -> float:
    """Of a matrix with these singular values, largest first."""
    return float(values[0] / max(values[-1], 1e-12))
