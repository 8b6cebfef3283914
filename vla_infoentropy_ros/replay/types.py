# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: the standard ones and our own."""

from __future__ import annotations

import functools

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vla_infoentropy_ros.share import PACKAGE, share_directory


@functools.cache
def type_store() -> Typestore:
    """The types of ROS 2 Jazzy and our own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted((share_directory() / "msg").glob("*.msg")):
        text = path.read_text(encoding="utf-8")
        store.register(get_types_from_msg(text, f"{PACKAGE}/msg/{path.stem}"))
    return store
