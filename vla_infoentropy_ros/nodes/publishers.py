# SPDX-License-Identifier: Apache-2.0
"""Who publishes on a topic, by what the graph tells."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from vla_infoentropy_ros.driving.sources import Crowd

_CLOCK = "/clock"
_UNKNOWN = "_NODE_NAME_UNKNOWN_"  # of rmw_dds_common, where an end is met before its node
NAMELESS = "a node that has not told its name yet"


def crowd(node: Any, topic: str) -> Crowd | None:
    """The publishers of a topic, by its full name, where they are more than one."""
    if node.count_publishers(topic) < 2:  # cheap, at command rate
        return None
    names = full_names(node.get_publishers_info_by_topic(topic))
    return Crowd(topic, names) if len(names) > 1 else None


def full_names(ends: Iterable[Any]) -> tuple[str, ...]:
    """Of the nodes at the ends of a topic, as often as each is there; `NAMELESS` for one of which
    no more is known."""
    return tuple(sorted(map(_full_name, ends)))


def _full_name(end: Any) -> str:
    if end.node_name == _UNKNOWN:
        return NAMELESS
    return f"{end.node_namespace.rstrip('/')}/{end.node_name}"


class TopicSources:
    """A `driving.sources.Sources`: what a node listens to, and the clock that it goes by."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._topics: dict[str, str] = {}

    def add(self, name: str, subscription: Any) -> None:
        """name: of an input. Called in one thread, while others may ask."""
        self._topics = self._topics | {name: subscription.topic_name}

    def remove(self, name: str) -> None:
        self._topics = {each: topic for each, topic in self._topics.items() if each != name}

    def crowd(self, shared: Collection[str]) -> Crowd | None:
        """See `driving.sources.Sources`."""
        simulated = self._node.get_clock().ros_time_is_active
        topics = self._topics | ({"clock": _CLOCK} if simulated else {})
        found = (crowd(self._node, topic) for name, topic in topics.items() if name not in shared)
        return next(filter(None, found), None)
