# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: the standard ones, our own, and those that a bag defines itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.share import PACKAGE, share_directory

RAW_IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"
ACTION = f"{PACKAGE}/msg/VlaAction"
SELECTION = f"{PACKAGE}/msg/TokenSelection"
STATUS = f"{PACKAGE}/msg/InferenceStatus"
EPISODE = f"{PACKAGE}/msg/EpisodeResult"
JOINT_STATE, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"

_STAMP = ("header.stamp.sec", "header.stamp.nanosec")
_HEADER = (*_STAMP, "header.frame_id")
_READ: Mapping[str, tuple[str, ...]] = {
    RAW_IMAGE: (*_HEADER, "height", "width", "encoding", "step", "data"),
    COMPRESSED_IMAGE: (*_HEADER, "format", "data"),
    STRING: ("data",),
    ACTION: ("observation_stamp.sec", "observation_stamp.nanosec", "step", "values", "token_ids",
             "gripper_convention", "rotation_convention", "frame_convention", "control_period"),
    JOINT_STATE: (*_STAMP, "name", "position"),
    POSE: (*_HEADER, *(f"pose.position.{axis}" for axis in "xyz"),
           *(f"pose.orientation.{axis}" for axis in "xyzw")),
    TF_MESSAGE: (*(f"transforms.{name}" for name in (*_HEADER, "child_frame_id")),
                 *(f"transforms.transform.translation.{axis}" for axis in "xyz"),
                 *(f"transforms.transform.rotation.{axis}" for axis in "xyzw")),
}
"""The fields that are used, by type."""


@functools.cache
def type_store() -> Typestore:
    """The types of ROS 2 Jazzy and our own; never changed by what a bag says."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted((share_directory() / "msg").glob("*.msg")):
        text = path.read_text(encoding="utf-8")
        store.register(get_types_from_msg(text, f"{PACKAGE}/msg/{path.stem}"))
    return store


@functools.lru_cache(maxsize=64)
def store_for(type_name: str, definition: str) -> Typestore:
    """A store that reads ``type_name`` as it was when it was recorded.

    definition: as the bag holds it, `.msg` texts one after the other, or "" where it holds none.
    Raises BagError where the type is known to neither side, its definition is not readable, or
    lacks a field that is used.
    """
    known = type_store()
    if not definition:
        if type_name not in known.fielddefs:
            raise BagError(
                f"the type {type_name} is not known here and the bag does not define it: record "
                "again in mcap, whose files carry the definitions"
            )
        return known
    try:
        told = get_types_from_msg(definition, type_name)
        if all(known.fielddefs.get(name) == fields for name, fields in told.items()):
            return known
        own = get_typestore(Stores.EMPTY)
        own.register({n: d for n, d in told.items() if n not in own.fielddefs})
    except Exception as error:  # the grammar raises its own, key and recursion errors
        raise BagError(
            f"the bag's definition of {type_name} is no valid .msg text: record again, or convert "
            "the bag with `ros2 bag convert`"
        ) from error
    for field in _READ.get(type_name, ()):
        if not _has(own, type_name, field):
            raise BagError(
                f"the bag's definition of {type_name} has no {field}, which is read here: record "
                "again with the type as ROS 2 has it, or convert the bag with `ros2 bag convert`"
            )
    return own


def _has(store: Typestore, type_name: str, field: str) -> bool:
    """field: names with points between; of an array those of its elements."""
    for name in field.split("."):
        fields = dict(store.fielddefs[type_name][1]) if type_name in store.fielddefs else {}
        if name not in fields:
            return False
        kind: Any = fields[name]
        if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            kind = kind[1][0]  # of its elements
        type_name = str(kind[1]) if kind[0] == Nodetype.NAME else ""
    return True


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def packed(type_name: str, values: Mapping[str, Any]) -> bytes:
    """A message of our store as CDR, from values by the names of its fields.

    Fields that are not named are zero or empty. Times and durations may be nanoseconds, a header
    (nanoseconds, frame_id), a twist six numbers; see `driving.telling`.
    """
    return bytes(type_store().serialize_cdr(_made(type_name, values), type_name))


def _made(type_name: str, values: Any) -> Any:
    store = type_store()
    if type_name in ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"):
        values = {"sec": values // 10**9, "nanosec": values % 10**9}
    elif type_name == "std_msgs/msg/Header":
        values = {"stamp": values[0], "frame_id": values[1]}
    elif type_name == "geometry_msgs/msg/Twist":
        line, turn = ({axis: float(v) for axis, v in zip("xyz", part, strict=True)}
                      for part in (values[:3], values[3:]))
        values = {"linear": line, "angular": turn}
    fields = {name: _field(kind, values.get(name)) for name, kind in store.fielddefs[type_name][1]}
    unknown = set(values) - set(fields)
    if unknown:
        raise KeyError(f"{type_name} has no field {sorted(unknown)}")
    return store.types[type_name](**fields)


def _field(kind: Any, value: Any) -> Any:
    """kind: as the type store tells a field."""
    node, about = kind
    if node == Nodetype.BASE:
        name = about[0]
        if value is None:
            return {"string": "", "bool": False}.get(name, 0)
        return value
    if node == Nodetype.NAME:
        return _made(about, _NOTHING.get(about, {}) if value is None else value)
    dtype = np.dtype(_DTYPES[about[0][1][0]])
    if value is None:
        return np.zeros(about[1] if node == Nodetype.ARRAY else 0, dtype)
    return np.ascontiguousarray(value, dtype=dtype)


_NOTHING: Mapping[str, Any] = {
    "builtin_interfaces/msg/Time": 0,
    "builtin_interfaces/msg/Duration": 0,
    "std_msgs/msg/Header": (0, ""),
    "geometry_msgs/msg/Twist": (0.0,) * 6,
}
_DTYPES = {"byte": "uint8", "octet": "uint8"} | {
    name: name for name in ("uint8", "uint16", "uint32", "int32", "float32", "float64")
}
