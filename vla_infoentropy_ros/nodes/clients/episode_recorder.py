# SPDX-License-Identifier: Apache-2.0
"""Everything that is said in the simulation's graph, as it was on the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String

from vla_infoentropy_ros.msg import EpisodeResult, InferenceStatus, TokenSelection, VlaAction
from vla_infoentropy_ros.nodes.clients.episode_client import POLICY, EpisodeClient
from vla_infoentropy_ros.nodes.messages import type_name

Keep = Callable[[str, str, bytes, bool], None]
"""(full topic name, type name such as std_msgs/msg/String, CDR with header, latched)."""

_TOPICS: tuple[tuple[str, Any], ...] = (
    ("image", Image),
    ("instruction", String),
    ("ee_pose", PoseStamped),
    ("action", VlaAction),
    ("twist_command", TwistStamped),
    ("gripper_command", Float64),
    (f"{POLICY}/selection", TokenSelection),
    (f"{POLICY}/status", InferenceStatus),
    ("episode", EpisodeResult),
    ("/clock", Clock),
)
_LATCHED = frozenset({"instruction", f"{POLICY}/status", "episode"})
# Volatile: what was latched before the episode belongs to another one.
_QOS = QoSProfile(depth=200)
_MATCHING_S = 5.0
_SETTLE_S = 0.3


class EpisodeRecorder:
    """Subscribes to every topic of the graph, unparsed, for the time of the context.

    keep: is called for each message, in order, by the thread of the client.
    """

    def __init__(self, client: EpisodeClient, keep: Keep) -> None:
        self._client, self._keep = client, keep
        self._subscriptions: list[Any] = []

    def __enter__(self) -> EpisodeRecorder:
        node = self._client.node
        for topic, kind in _TOPICS:
            self._subscriptions.append(
                node.create_subscription(kind, topic, self._keeper(topic, kind), _QOS, raw=True)
            )
        self._client.wait(
            lambda: all(each.get_publisher_count() for each in self._subscriptions), _MATCHING_S
        )
        time.sleep(_SETTLE_S)  # the publishers may not know of it yet
        return self

    def __exit__(self, *error: object) -> None:
        self._client.do(self._unsubscribe)

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._client.node.destroy_subscription(subscription)
        self._subscriptions = []

    def _keeper(self, topic: str, kind: Any) -> Callable[[bytes], None]:
        full = self._client.node.resolve_topic_name(topic)
        name, latched = type_name(kind), topic in _LATCHED
        return lambda data: self._keep(full, name, bytes(data), latched)
