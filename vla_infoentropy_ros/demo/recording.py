# SPDX-License-Identifier: Apache-2.0
"""One episode as raw messages in memory: pictures and bag are made of it afterwards."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from vla_infoentropy_ros.replay.bag_writer import RawMessage
from vla_infoentropy_ros.replay.types import RAW_IMAGE, STRING, stamp_ns, type_store
from vla_infoentropy_ros.report.records import EpisodeRecord, ShownEpisode, ShownStep

_SELECTION = "vla_infoentropy_ros/msg/TokenSelection"


class Recording:
    """Takes what an EpisodeRecorder hears. Of images and of texts the graph has one topic each."""

    def __init__(self) -> None:
        self._messages: list[RawMessage] = []

    def keep(self, topic: str, type_name: str, data: bytes, latched: bool) -> None:
        """One message, as it arrives. data: CDR with its header."""
        self._messages.append(RawMessage(topic, type_name, time.time_ns(), data, latched))

    @property
    def messages(self) -> list[RawMessage]:
        """In order, but the instruction of the episode before its first image, as it was in force.

        The simulator sends no image before the policy has taken the instruction over, but topics
        may overtake each other on the way to a recorder.
        """
        if not self._messages:
            return []
        began_ns = min(message.received_ns for message in self._messages)
        told = [replace(m, received_ns=began_ns) for m in self._messages if m.type_name == STRING]
        return told + [m for m in self._messages if m.type_name != STRING]

    def shown(self, episode: EpisodeRecord) -> ShownEpisode:
        """The episode's steps with their pictures; steps whose picture was lost are left out."""
        pictures: dict[int, np.ndarray] = {}
        stamps: dict[int, int] = {}
        grid = (16, 16)
        for message in self._messages:
            if message.type_name == RAW_IMAGE:
                parsed = _parsed(message)
                pictures[stamp_ns(parsed.header.stamp)] = _picture(parsed)
            elif message.type_name == _SELECTION:
                parsed = _parsed(message)
                stamps[int(parsed.step)] = stamp_ns(parsed.header.stamp)
                grid = (int(parsed.rows), int(parsed.cols))
        steps = tuple(
            ShownStep(record, pictures[stamps[record.t]])
            for record in episode.records
            if stamps.get(record.t) in pictures
        )
        return ShownEpisode(episode, steps, grid)


def _parsed(message: RawMessage) -> Any:
    return type_store().deserialize_cdr(message.data, message.type_name)


def _picture(image: Any) -> np.ndarray:
    """The simulator's rgb8 image, (h, w, 3)."""
    rows = np.asarray(image.data, dtype=np.uint8).reshape(image.height, image.step)
    return rows[:, : 3 * image.width].reshape(image.height, image.width, 3).copy()
