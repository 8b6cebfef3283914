# SPDX-License-Identifier: Apache-2.0
"""Read camera frames, instructions and recorded actions from a rosbag2 bag. No ROS needed.

Bags are opened read-only; nothing here writes beside them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import get_types_from_msg

from vla_infoentropy_ros.driving.images import ImageError, PackedPicture, RawPicture
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.replay.types import type_store

RAW_IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"
ACTION = "vla_infoentropy_ros/msg/VlaAction"
EPISODE = "vla_infoentropy_ros/msg/EpisodeResult"
_STORAGE_SUFFIXES = (".mcap", ".db3")


class BagError(UserError, ValueError):
    """A bag that cannot be read or replayed; the message says why and what to do."""


@dataclass(frozen=True)
class Frame:
    """images: one (h, w, 3) uint8 RGB per view. stamp_ns: header stamp of the first view, or the
    time of recording where the header holds none. instruction: the last one before it, or "".
    begins: an episode ended since the frame before."""

    stamp_ns: int
    images: tuple[NDArray[np.uint8], ...]
    instruction: str
    begins: bool


@dataclass(frozen=True)
class RecordedAction:
    """What the live node decided for the frame with this stamp."""

    stamp_ns: int
    values: NDArray[np.float64]
    token_ids: tuple[int, ...]
    step: int


class Bag:
    """An open bag; use it as a context manager. Raises BagError for a bag nobody can read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)
        self._store = type_store()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def topics(self, *types: str) -> list[str]:
        """Names of the topics that hold messages of these types, sorted."""
        return sorted({c.topic for c in self._reader.connections if c.msgtype in types
                       and c.msgcount})

    def choose_image_topics(self, wanted: Sequence[str], views: int | None = None) -> list[str]:
        """The topics to feed to a policy of so many views: those wanted, else all there are.

        views None: the number is not known yet and not checked.
        """
        found = self.topics(RAW_IMAGE, COMPRESSED_IMAGE)
        if not found:
            raise BagError(f"{self.path} holds no images. Its topics: {self._listing()}. Replay "
                           f"needs {RAW_IMAGE} or {COMPRESSED_IMAGE}")
        for topic in wanted:
            if topic not in found:
                near = difflib.get_close_matches(topic, found, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise BagError(f"no images on topic {topic} in {self.path}: {hint}"
                               f"Image topics: {', '.join(found)}")
        chosen = list(wanted) or found
        if views is not None and len(chosen) != views:
            times = "once" if views == 1 else f"{views} times"
            raise BagError(f"the policy takes {views} view{'s' * (views > 1)}, but there are "
                           f"{len(chosen)} image topics: {', '.join(chosen)}. Give "
                           f"--image-topic {times}")
        return chosen

    def choose_instruction_topic(self, wanted: str = "") -> str:
        """The wanted topic, else the only String topic that is called instruction, else ""."""
        found = self.topics(STRING)
        if wanted:
            if wanted not in found:
                raise BagError(f"no {STRING} on topic {wanted} in {self.path}; there is "
                               f"{', '.join(found) or 'none at all'}")
            return wanted
        named = [topic for topic in found if topic.rsplit("/", 1)[-1] == "instruction"]
        return named[0] if len(named) == 1 else ""

    def frames(self, image_topics: Sequence[str], instruction_topic: str = "") -> Iterator[Frame]:
        """One frame per message of the first image topic, in order of recording.

        Further views join with their newest picture; frames before every view has one are left
        out, as the live node would.
        """
        latest: dict[str, NDArray[np.uint8]] = {}
        instruction, begins = "", False
        listen = [*image_topics, instruction_topic, *self.topics(EPISODE)]
        for connection, received_ns, message in self._messages(listen):
            if connection.topic == instruction_topic:
                instruction = str(message.data)
            elif connection.msgtype == EPISODE:
                begins = True
            else:
                latest[connection.topic] = self._image(connection, message)
                if connection.topic == image_topics[0] and len(latest) == len(image_topics):
                    stamp = message.header.stamp
                    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
                    images = tuple(latest[topic] for topic in image_topics)
                    yield Frame(stamp_ns or received_ns, images, instruction, begins)
                    begins = False

    def actions(self) -> list[RecordedAction]:
        """The actions that the live policy node published, if it was recorded."""
        return [
            RecordedAction(
                stamp_ns=m.observation_stamp.sec * 1_000_000_000 + m.observation_stamp.nanosec,
                values=np.asarray(m.values, dtype=np.float64),
                token_ids=tuple(int(token) for token in m.token_ids),
                step=int(m.step),
            )
            for _, _, m in self._messages(self.topics(ACTION))
        ]

    def _messages(self, topics: Sequence[str]) -> Iterator[tuple[Connection, int, Any]]:
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        self._register_types(connections)
        try:
            for connection, received_ns, data in self._reader.messages(connections):
                yield connection, received_ns, self._decode(connection, data)
        except (ReaderError, OSError) as error:
            raise BagError(f"{self.path} breaks off: {error}. `ros2 bag reindex` may save what is "
                           "left") from error

    def _decode(self, connection: Connection, data: bytes | memoryview) -> Any:
        try:
            return self._store.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # the decoder raises struct, index and unicode errors alike
            raise BagError(f"a message on {connection.topic} in {self.path} is no valid "
                           f"{connection.msgtype}: {error}. Was its definition changed since the "
                           "recording?") from error

    def _register_types(self, connections: Sequence[Connection]) -> None:
        """Types that the type store lacks come from the definitions in the bag."""
        for connection in connections:
            name = connection.msgtype
            if name in self._store.fielddefs:
                continue
            if not connection.msgdef.data:
                raise BagError(f"{self.path} does not define {name} (topic {connection.topic})")
            self._store.register(get_types_from_msg(connection.msgdef.data, name))

    def _image(self, connection: Connection, message: Any) -> NDArray[np.uint8]:
        try:
            kind = RawPicture if connection.msgtype == RAW_IMAGE else PackedPicture
            return kind.of(message).rgb()
        except ImageError as error:
            raise BagError(f"image on {connection.topic} in {self.path}: {error}") from error

    def _listing(self) -> str:
        every = sorted({f"{c.topic} ({c.msgtype})" for c in self._reader.connections})
        return ", ".join(every) or "none"


def _open(path: Path) -> Reader:
    """An open reader, or a BagError with a remedy."""
    if not path.exists():
        raise BagError(f"{path} does not exist: give a bag folder, or an .mcap or .db3 file")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        parts = sorted(p.name for p in path.iterdir() if p.suffix in _STORAGE_SUFFIXES)
        if not parts:
            raise BagError(f"{path} is no bag: it has neither metadata.yaml nor .mcap or .db3 "
                           "files")
        raise BagError(f"{path} has no metadata.yaml: rebuild it with `ros2 bag reindex {path}`, "
                       f"or name one of its files: {', '.join(parts)}")
    reader: Reader | None = None
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # the reader raises its own, YAML, OS and database errors
        raise BagError(f"{path} cannot be read: {_explain(str(error))}") from error
    if not reader.message_count:
        reader.close()
        raise BagError(f"{path} holds no messages: was the recording stopped at once, or on the "
                       "wrong domain?")
    return reader


def _explain(error: str) -> str:
    """The reader's message with a remedy where we know one."""
    text = error.rstrip(".")
    if "Serialization format" in text:
        return f"{text}; only cdr can be read, so record with a usual RMW"
    if "Profile is not ros2" in text:
        return (f"{text}; the file does not say that it holds ROS 2 messages. Write it again with "
                "the profile ros2, as `ros2 bag record -s mcap` does")
    if "Unrecognized storage format" in text:
        return f"{text}; give a bag folder, or an .mcap or .db3 file"
    return text
