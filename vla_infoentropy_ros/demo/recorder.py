# SPDX-License-Identifier: Apache-2.0
"""Record one episode as raw messages in memory: pictures and bag are made of it afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String

from vla_infoentropy_ros.demo.graph import POLICY, DemoGraph
from vla_infoentropy_ros.msg import EpisodeResult, InferenceStatus, TokenSelection, VlaAction
from vla_infoentropy_ros.replay.bag_writer import RawMessage
from vla_infoentropy_ros.report.records import EpisodeRecord, ShownEpisode, ShownStep
from vla_infoentropy_ros.standalone.typestore import registry

_IMAGE, _INSTRUCTION, _SELECTION = "/image", "/instruction", f"/{POLICY}/selection"
_TOPICS: tuple[tuple[str, Any], ...] = (
    (_IMAGE, Image),
    (_INSTRUCTION, String),
    ("/ee_pose", PoseStamped),
    ("/action", VlaAction),
    ("/twist_command", TwistStamped),
    ("/gripper_command", Float64),
    (_SELECTION, TokenSelection),
    (f"/{POLICY}/status", InferenceStatus),
    ("/episode", EpisodeResult),
    ("/clock", Clock),
)
_LATCHED = frozenset({_INSTRUCTION, f"/{POLICY}/status", "/episode"})
# Volatile: what was latched before the episode belongs to another one.
_QOS = QoSProfile(depth=200)
_MATCHING_S = 5.0
_SETTLE_S = 0.3


class EpisodeRecorder:
    """Subscribes to every topic of the graph, unparsed, for the time of the context.

    messages: everything received, in order.
    """

    def __init__(self, graph: DemoGraph) -> None:
        self._graph = graph
        self._subscriptions: list[Any] = []
        self.messages: list[RawMessage] = []

    def __enter__(self) -> EpisodeRecorder:
        node = self._graph.node
        for topic, kind in _TOPICS:
            self._subscriptions.append(
                node.create_subscription(kind, topic, self._keeper(topic, kind), _QOS, raw=True)
            )
        self._graph.wait(
            lambda: all(node.count_publishers(topic) for topic, _ in _TOPICS), _MATCHING_S
        )
        time.sleep(_SETTLE_S)  # known is not yet matched
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for subscription in self._subscriptions:
            self._graph.node.destroy_subscription(subscription)
        self._subscriptions = []
        self.messages = _instruction_first(self.messages)

    def shown(self, episode: EpisodeRecord) -> ShownEpisode:
        """The episode's steps with their pictures; steps whose picture was lost are left out."""
        pictures: dict[int, np.ndarray] = {}
        stamps: dict[int, int] = {}
        grid = (16, 16)
        for message in self.messages:
            if message.topic == _IMAGE:
                parsed = _parsed(message)
                pictures[_stamp_ns(parsed.header.stamp)] = _picture(parsed)
            elif message.topic == _SELECTION:
                parsed = _parsed(message)
                stamps[int(parsed.step)] = _stamp_ns(parsed.header.stamp)
                grid = (int(parsed.rows), int(parsed.cols))
        steps = tuple(
            ShownStep(record, pictures[stamps[record.t]])
            for record in episode.records
            if stamps.get(record.t) in pictures
        )
        return ShownEpisode(episode, steps, grid)

    def _keeper(self, topic: str, kind: Any) -> Callable[[bytes], None]:
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"

        def keep(data: bytes) -> None:
            self.messages.append(
                RawMessage(topic, name, time.time_ns(), bytes(data), topic in _LATCHED)
            )

        return keep


def _instruction_first(messages: list[RawMessage]) -> list[RawMessage]:
    """The instruction of an episode before its first image, as it was in force.

    The simulator sends no image before the policy has taken the instruction over, but topics may
    overtake each other on the way to this recorder.
    """
    if not messages:
        return messages
    began_ns = min(message.received_ns for message in messages)
    instructions = [replace(m, received_ns=began_ns) for m in messages if m.topic == _INSTRUCTION]
    return instructions + [m for m in messages if m.topic != _INSTRUCTION]


def _parsed(message: RawMessage) -> Any:
    return registry().store.deserialize_cdr(message.data, message.type_name)


def _stamp_ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _picture(image: Any) -> np.ndarray:
    """The simulator's rgb8 image, (h, w, 3)."""
    rows = np.asarray(image.data, dtype=np.uint8).reshape(image.height, image.step)
    return rows[:, : 3 * image.width].reshape(image.height, image.width, 3).copy()
