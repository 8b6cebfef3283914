# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 bag as a recording: every message in recorded order, none lost unnoticed. No ROS.

The files are opened read-only; nothing here writes beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from vla_infoentropy_ros.foreign.budgets import limit, within
from vla_infoentropy_ros.replay.bag_folder import bag_files, open_part
from vla_infoentropy_ros.replay.errors import BagError, counted
from vla_infoentropy_ros.replay.storage import ZSTD_MAGIC, Channel, Raw, Storage, in_order
from vla_infoentropy_ros.replay.types import store_for

FIRST_NS, END_NS = 0, 2**63 - 1


class Recorded(NamedTuple):
    """A message as it was recorded; time_ns: when it arrived at the recorder."""

    time_ns: int
    topic: str
    type_name: str
    message: Any


@dataclass(frozen=True)
class Shortfall:
    """A topic of which not as many messages came as were announced."""

    topic: str
    announced: int
    delivered: int

    def __str__(self) -> str:
        return (f"{self.topic}: {counted(self.announced, 'message')} announced, "
                f"{self.delivered} delivered")


class _NoMessage(BagError):
    """Bytes that are none of the type that their topic has."""


class Bag:
    """An open bag; use it as a context manager. Raises BagError for a bag nobody can read.

    notes: what was done to read it, for the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._delivered: Counter[str] = Counter()
        bag = bag_files(path)
        self.notes = list(bag.notes)
        self._announced, self._by_message = bag.announced, bag.by_message
        try:
            parts = [open_part(file, self._stack, self.notes) for file in bag.files]
            self._parts: list[Storage] = sorted(parts, key=lambda part: part.begins_ns)
            self._check_not_empty()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    @property
    def begins_ns(self) -> int:
        """Time of the first message."""
        return min((part.begins_ns for part in self._parts if part.begins_ns), default=0)

    def topics(self, *types: str) -> list[str]:
        """Names of the topics that hold messages of these types, sorted."""
        return sorted({c.topic for c in self._channels() if c.type_name in types and c.count
                       and c.encoding == "cdr"})

    def listing(self) -> str:
        """Every topic with its type, and its encoding where that is not readable."""
        return ", ".join(sorted({
            f"{c.topic} ({c.type_name or 'no type'}"
            f"{'' if c.encoding == 'cdr' else f', {c.encoding}'})"
            for c in self._channels()
        }))

    def messages(
        self, topics: Collection[str], start_ns: int = FIRST_NS, end_ns: int = END_NS
    ) -> Iterator[Recorded]:
        """Messages of these topics, start_ns <= time < end_ns, in recorded order over all files.

        Of equal times, those of the file that begins first come first.
        """
        wanted = set(topics)
        streams = (
            (part.begins_ns, partial(part.messages, wanted, start_ns, end_ns))
            for part in self._parts
            if part.begins_ns < end_ns
        )
        for raw in in_order(streams):
            if raw.channel.encoding != "cdr":
                continue
            try:
                message = self._parsed(raw)
            except _NoMessage as error:
                if not self._delivered[raw.channel.topic]:
                    raise  # none of them can be read, it seems
                self._dropped(error)
                continue
            self._delivered[raw.channel.topic] += 1
            yield Recorded(raw.time_ns, raw.channel.topic, raw.channel.type_name, message)

    def _dropped(self, why: _NoMessage) -> None:
        """One message among good ones, which the node drops as well; `shortfalls` counts it."""
        self._note(f"dropped: {why}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def shortfalls(self, topics: Collection[str]) -> list[Shortfall]:
        """Topics that delivered less, or more, than was announced; after reading all of them."""
        return [
            Shortfall(topic, self.count(topic), self._delivered[topic])
            for topic in sorted(set(topics))
            if self.count(topic) != self._delivered[topic]
        ]

    def count(self, topic: str) -> int:
        """Messages of a topic, as announced by the metadata, else by the files."""
        if self._announced is not None:
            return self._announced.get(topic, 0)
        return sum(channel.count for channel in self._channels() if channel.topic == topic)

    def _channels(self) -> Iterator[Channel]:
        return (channel for part in self._parts for channel in part.channels)

    def _check_not_empty(self) -> None:
        if not any(channel.count for channel in self._channels()):
            raise BagError(f"{self.path} holds no messages: was the recording stopped at once, or "
                           "on the wrong domain?")
        encodings = {channel.encoding for channel in self._channels()}
        if "cdr" not in encodings:
            raise BagError(f"the messages of {self.path} are serialised as "
                           f"{', '.join(sorted(encodings))}; only cdr can be read, so record with "
                           "a usual RMW")

    def _parsed(self, raw: Raw) -> Any:
        channel, data = raw.channel, raw.data
        if self._by_message or data.startswith(ZSTD_MAGIC):  # no CDR begins so
            data = self._unpacked(raw)
        try:
            store = store_for(channel.type_name, channel.definition)
            return store.deserialize_cdr(data, channel.type_name)
        except BagError as error:
            raise BagError(f"topic {channel.topic} of {self.path}: {error}") from error
        except Exception as error:  # the decoder raises struct, index and unicode errors alike
            raise _NoMessage(f"a message on {channel.topic} in {self.path} is no valid "
                             f"{channel.type_name} ({len(data)} bytes): was its definition changed "
                             "since the recording?") from error

    def _unpacked(self, raw: Raw) -> bytes:
        """The message of a bag that is compressed message by message, whatever its metadata say;
        plain ones stay plain."""
        if not raw.data.startswith(ZSTD_MAGIC):
            self._note(f"metadata.yaml of {self.path} says that messages are compressed, but they "
                       "are not: they were taken as they are")
            return raw.data
        if not self._by_message:
            self._note(f"messages of {self.path} are compressed one by one, which no metadata.yaml "
                       "says: they were unpacked")
        most = limit("bag_chunk_bytes")
        try:
            data = zstandard.ZstdDecompressor().stream_reader(raw.data).read(most + 1)
            if len(data) < zstandard.frame_content_size(raw.data):
                raise zstandard.ZstdError("cut off")
            within("bag_chunk_bytes", len(data), f"a message on {raw.channel.topic}", BagError)
            return bytes(data)
        except zstandard.ZstdError as error:
            raise BagError(f"a compressed message on {raw.channel.topic} in {self.path} is "
                           "damaged: copy the bag again from where it was recorded") from error
