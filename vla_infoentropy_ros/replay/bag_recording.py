# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 bag as a recording: which topics are cameras, instruction, ends of episodes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vla_infoentropy_ros.driving.intake import VIEWS
from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.replay.bag_reader import Bag, Recorded
from vla_infoentropy_ros.replay.errors import BagError, counted
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
    arranged,
    camera_of,
    check_number,
    choose,
)
from vla_infoentropy_ros.replay.types import (
    ACTION,
    COMPRESSED_IMAGE,
    EPISODE,
    JOINT_STATE,
    POSE,
    RAW_IMAGE,
    STRING,
    TF_MESSAGE,
    stamp_ns,
)

STATES = {JOINT_STATES: JOINT_STATE, EE_POSE: POSE, TF: TF_MESSAGE, TF_STATIC: TF_MESSAGE}
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
            self._named = bool(image_topics)
            cameras = image_topics or self._each_once(found)
            self.cameras: Sequence[str] = choose(path, found, cameras)
            self.images = self._bag.count(self.cameras[0])
            self._instruction = self._choose_instruction(instruction_topic)
            self._states = {topic: kind for kind in states for topic in self._choose_states(kind)}
        except BaseException:
            self.close()
            raise
        self._whole = False
        self._acting: list[str] = []  # topics of the actions that were read

    def close(self) -> None:
        self._bag.close()

    def assign(self, views: int, names: Sequence[str]) -> None:
        """By the names of the node's topics; one camera need not be called so."""
        if self._named:
            check_number(self.cameras, views)
            return
        topics = VIEWS[:views] if views > 1 else ()
        self.cameras = arranged(self.path, self.cameras, views, topics, _base_name)
        self.images = self._bag.count(self.cameras[0])

    def _each_once(self, found: Sequence[str]) -> list[str]:
        """Without the compressed images of cameras whose raw ones are there too."""
        twins = [topic for topic in found if camera_of(topic) in set(found) - {topic}]
        if twins:
            self.notes.append(f"{', '.join(map(printable, twins))}: not replayed beside the raw "
                              "images of the same camera; --image-topic takes it instead")
        return [topic for topic in found if topic not in twins]

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
        """Those of one topic that are fit to be compared; the others are told in notes."""
        found = self._bag.topics(ACTION)
        self._acting = self._choose_actions(found) if found else []
        taken, unfit = list[RecordedAction](), Counter[str]()
        try:
            for recorded in self._bag.messages(self._acting):
                action = _action(recorded)
                why = action.unfit()
                if why:
                    unfit[why] += 1
                else:
                    taken.append(action)
        except BagError as error:  # the replay itself needs none of them
            self.notes.append(f"the actions that were recorded are compared with none: {error}")
        self.notes += [f"{counted(count, 'action')} on {self._acting[0]} dropped: {why}"
                       for why, count in unfit.items()]
        return taken

    def _choose_actions(self, found: Sequence[str]) -> list[str]:
        """One topic: that of the first camera's namespace, else the first by name."""
        place = camera_of(self.cameras[0]).rpartition("/")[0]
        chosen = next((topic for topic in found if topic.startswith(f"{place}/")), found[0])
        others = [topic for topic in found if topic != chosen]
        if others:
            self.notes.append(f"recorded actions are those on {printable(chosen)} alone; there are "
                              f"some on {', '.join(map(printable, others))} too: record one "
                              "robot to a bag to compare with its own")
        return [chosen]

    def shortfalls(self) -> list[str]:
        """Of a part of the bag nobody knows how many messages it should hold."""
        if not self._whole:
            return []
        return [f"{each}; `ros2 bag reindex` counts anew"
                for each in self._bag.shortfalls([*self._listened, *self._acting])]

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


def _action(recorded: Recorded) -> RecordedAction:
    message = recorded.message
    return RecordedAction(
        stamp_ns=stamp_ns(message.observation_stamp),
        values=np.asarray(message.values, dtype=np.float64),
        token_ids=tuple(int(token) for token in message.token_ids),
        step=int(message.step),
        gripper=str(message.gripper_convention),
        rotation=str(message.rotation_convention),
        frame=str(message.frame_convention),
        control_period_s=float(message.control_period),
        time_ns=recorded.time_ns,
    )


def _base_name(topic: str) -> str:
    """A camera's name without its namespaces."""
    return camera_of(topic).rsplit("/", 1)[-1]
