# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: the standard ones, our own, and those that a bag defines itself."""

from __future__ import annotations

import functools
from typing import Any

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
    Raises BagError where the type is known to neither side, or its definition is not readable.
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
    return own


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
