# SPDX-License-Identifier: Apache-2.0
"""From results of the policy to ROS messages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

from vla_infoentropy_ros.msg import InferenceStatus, TokenSelection, VlaAction

if TYPE_CHECKING:  # the simulator uses this module without a policy, and so without torch
    from vla_infoentropy_ros.driving.intake import Frame
    from vla_infoentropy_ros.session import StepResult

_TYPECODES = {"uint8": "B", "uint16": "H", "int32": "i", "float32": "f", "float64": "d"}


def to_array(values: NDArray[Any], kind: str) -> array[Any]:
    """A flat ROS array: ``array.array`` is what rclpy takes without looking at each element."""
    made: array[Any] = array(_TYPECODES[kind])
    made.frombytes(np.ascontiguousarray(values, dtype=kind).tobytes())
    return made


def to_time(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def to_duration(nanoseconds: int) -> Duration:
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def to_twist(twist: NDArray[np.float64] | Sequence[float]) -> Twist:
    """(6,) m/s, rad/s."""
    x, y, z, roll, pitch, yaw = (float(value) for value in twist)
    return Twist(linear=Vector3(x=x, y=y, z=z), angular=Vector3(x=roll, y=pitch, z=yaw))


def from_twist(twist: Twist) -> NDArray[np.float64]:
    """(6,) m/s, rad/s."""
    line, turn = twist.linear, twist.angular
    return np.array([line.x, line.y, line.z, turn.x, turn.y, turn.z])


def to_twist_stamped(twist: NDArray[np.float64], stamp_ns: int, frame_id: str) -> TwistStamped:
    """What MoveIt Servo takes as speed units."""
    header = Header(stamp=to_time(stamp_ns), frame_id=frame_id)
    return TwistStamped(header=header, twist=to_twist(twist))


def to_action(
    frame: Frame,
    result: StepResult,
    *,
    convention: Any,
    frame_id: str,
    stamp_ns: int,
    instruction: str,
) -> VlaAction:
    """The decision itself; the caller fills in sequence, command and what limited it."""
    action = result.action
    return VlaAction(
        header=Header(stamp=to_time(stamp_ns), frame_id=frame_id),
        observation_stamp=to_time(frame.stamp_ns),
        observation_age=to_duration(max(0, stamp_ns - frame.stamp_ns)),
        step=result.t,
        instruction=instruction,
        frame_convention=convention.frame,
        rotation_convention=convention.rotation,
        gripper_convention=convention.gripper,
        control_period=float(convention.control_period_s),
        values=np.asarray(action.values, dtype=np.float64),
        normalised=np.asarray(action.normalised, dtype=np.float64),
        token_ids=array("i", action.token_ids),
    )


def to_selection(
    frame: Frame, result: StepResult, views: int, grid: tuple[int, int], names: tuple[str, str]
) -> TokenSelection:
    """names: (selector, schedule)."""
    report = result.report
    return TokenSelection(
        header=Header(stamp=to_time(frame.stamp_ns), frame_id=frame.frame_id),
        step=result.t,
        selector=names[0],
        schedule=names[1],
        alpha=float(report.alpha),
        k_visual=int(report.k_visual),
        k_attention=int(report.k_attention),
        views=views,
        rows=grid[0],
        cols=grid[1],
        reasons=to_array(report.reasons, "uint8"),
        image_entropy=to_array(report.image_entropy, "float32"),
        attention_information=to_array(report.attention_information, "float32"),
        attention_mass=to_array(report.attention_mass, "float32"),
        drift=to_array(report.drift, "float32"),
        ages=to_array(report.ages, "uint16"),
        fresh=report.fresh,
        reused=report.reused,
        pruned=report.pruned,
    )


def fill_step(status: InferenceStatus, result: StepResult) -> None:
    """The figures of one step."""
    status.steps = result.t + 1
    status.invalidated = result.invalidated
    status.reuse_ratio = result.report.reuse_ratio
    status.latency_ms = float(result.latency_ms)
    for stage, milliseconds in result.stages_ms.items():
        setattr(status, f"{stage}_ms", float(milliseconds))
    status.decoder_passes = result.decoder_passes
    status.flops = int(result.flops)
    status.macs = int(result.macs)
