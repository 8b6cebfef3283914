# SPDX-License-Identifier: Apache-2.0
"""From plain values to ROS messages, and back."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

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


def fill(message: Any, values: Mapping[str, Any]) -> Any:
    """Put plain values by the names of its fields into a message; see `driving.telling`."""
    kinds = message.get_fields_and_field_types()
    for name, value in values.items():
        if kinds[name] in _MAKERS:
            value = _MAKERS[kinds[name]](value)
        elif kinds[name].startswith("sequence<"):
            value = to_array(value, value.dtype.name)
        setattr(message, name, value)
    return message


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "builtin_interfaces/Time": to_time,
    "builtin_interfaces/Duration": to_duration,
    "std_msgs/Header": lambda value: Header(stamp=to_time(value[0]), frame_id=value[1]),
    "geometry_msgs/Twist": to_twist,
}


def type_name(kind: Any) -> str:
    """Of a message's class, as the graph knows it: sensor_msgs/msg/Image."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def fault_text(status: Any | None) -> str:
    """Code and sentence of the fault that an InferenceStatus tells of, or ""."""
    if status is None or not status.fault:
        return ""
    return f"{status.fault_code}: {status.fault_reason}"
