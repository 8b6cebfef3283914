# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 bag as a recording: which topics are cameras, instruction, ends of episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.replay.bag_reader import Bag, Recorded
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.recording import (
    COMPRESSED,
    EE_POSE,
    EPISODE_END,
    EVER_NS,
    INSTRUCTION,
    JOINT_STATES,
    RAW,
    TF,
    TF_STATIC,
    Event,
    RecordedAction,
    Window,
    choose,
)
from vla_infoentropy_ros.replay.types import (
    ACTION,
    COMPRESSED_IMAGE,
    EPISODE,
    RAW_IMAGE,
    STRING,
    stamp_ns,
)

_TF_MESSAGE = "tf2_msgs/msg/TFMessage"
STATES = {JOINT_STATES: "sensor_msgs/msg/JointState", EE_POSE: "geometry_msgs/msg/PoseStamped",
          TF: _TF_MESSAGE, TF_STATIC: _TF_MESSAGE}
"""Types of the topics that hold the robot's state, by what they are called."""


class BagRecording:
    """An open bag with its topics chosen. Raises BagError where there is nothing to choose.

    image_topics: those wanted, () for all. instruction_topic: "" for the only String topic that
    is called instruction, if there is one. states: of `STATES`, for topics so called.
    """

    def __init__(
        self, path: Path, image_topics: Sequence[str] = (), instruction_topic: str = "",
        states: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._bag = Bag(path)
        self.notes = self._bag.notes
        try:
            found = self._bag.topics(RAW_IMAGE, COMPRESSED_IMAGE)
            if not found:
                raise BagError(f"{path} holds no images. Its topics: {self._bag.listing()}. Replay "
                               f"needs {RAW_IMAGE} or {COMPRESSED_IMAGE}")
            self.cameras: Sequence[str] = choose(path, found, image_topics, None)
            self.images = self._bag.count(self.cameras[0])
            self._instruction = self._choose_instruction(instruction_topic)
            self._states = {topic: kind for kind in states for topic in self._choose_states(kind)}
        except BaseException:
            self.close()
            raise
        self._whole = False

    def close(self) -> None:
        self._bag.close()

    @property
    def _listened(self) -> list[str]:
        told = [self._instruction] * bool(self._instruction)
        return [*self.cameras, *told, *self._states, *self._bag.topics(EPISODE)]

    def events(self, window: Window) -> Iterator[Event]:
        self._whole = window.whole
        start_ns = self._bag.begins_ns + window.start_ns
        end_ns = EVER_NS if window.end_ns == EVER_NS else self._bag.begins_ns + window.end_ns
        if window.start_ns:
            yield from self._latched(start_ns)
        for recorded in self._bag.messages(self._listened, start_ns, end_ns):
            yield self._event(recorded)

    def _latched(self, start_ns: int) -> Iterator[Event]:
        """What was said before for whoever comes later: all that TF holds fixed, and the newest
        instruction."""
        fixed = [topic for topic, kind in self._states.items() if kind == TF_STATIC]
        said = list(self._bag.messages(fixed, end_ns=start_ns)) if fixed else []
        if self._instruction:
            said += deque(self._bag.messages([self._instruction], end_ns=start_ns), maxlen=1)
        for each in said:
            yield self._event(each)._replace(time_ns=start_ns)

    def actions(self) -> list[RecordedAction]:
        return [
            RecordedAction(
                stamp_ns=stamp_ns(recorded.message.observation_stamp),
                values=np.asarray(recorded.message.values, dtype=np.float64),
                token_ids=tuple(int(token) for token in recorded.message.token_ids),
                step=int(recorded.message.step),
            )
            for recorded in self._bag.messages(self._bag.topics(ACTION))
        ]

    def shortfalls(self) -> list[str]:
        """Of a part of the bag nobody knows how many messages it should hold."""
        return [str(each) for each in self._bag.shortfalls(self._listened)] if self._whole else []

    def _event(self, recorded: Recorded) -> Event:
        time_ns, topic, type_name, message = recorded
        if topic == self._instruction:
            return Event(time_ns, INSTRUCTION, str(message.data))
        if type_name == EPISODE:
            return Event(time_ns, EPISODE_END)
        if topic in self._states:
            return Event(time_ns, self._states[topic], message)
        kind = RAW if type_name == RAW_IMAGE else COMPRESSED
        return Event(time_ns, kind, message, self.cameras.index(topic))

    def _choose_states(self, kind: str) -> list[str]:
        found = self._bag.topics(STATES[kind])
        named = [topic for topic in found if topic.rsplit("/", 1)[-1] == kind]
        if not named and kind != TF_STATIC:  # where every joint of the way moves
            raise BagError(f"no {STATES[kind]} on a topic called {kind} in {self.path}, which "
                           f"--state-source needs; there is {', '.join(found) or 'none at all'}")
        return named

    def _choose_instruction(self, wanted: str) -> str:
        found = self._bag.topics(STRING)
        if wanted and wanted not in found:
            raise BagError(f"no {STRING} on topic {wanted} in {self.path}; there is "
                           f"{', '.join(found) or 'none at all'}")
        named = [topic for topic in found if topic.rsplit("/", 1)[-1] == "instruction"]
        if len(named) > 1 and not wanted:
            self.notes.append(f"several topics are called instruction and none was taken, "
                              f"{', '.join(map(printable, named))}: --instruction-topic names one")
        return wanted or (named[0] if len(named) == 1 else "")
