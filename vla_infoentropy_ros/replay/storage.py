# SPDX-License-Identifier: Apache-2.0
"""One storage file of a bag, MCAP or SQLite: what is in it, and its messages in recorded order.

What a file is, its first bytes say; names and metadata may be wrong. Files are opened read-only.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import apsw
import mcap.exceptions
import zstandard
from lz4.frame import LZ4FrameDecompressor
from mcap.data_stream import ReadDataStream
from mcap.reader import SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, ChunkIndex, McapRecord, Message, Schema, Statistics
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk
from mcap.summary import Summary
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError

from vla_infoentropy_ros.foreign.budgets import limit, within
from vla_infoentropy_ros.foreign.files import open_regular
from vla_infoentropy_ros.replay.errors import BagError, moment

MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ROS1_MAGIC = b"#ROSBAG V"
BACK_NS = 10**9  # messages of one topic do not overtake each other by so much
_POINTERS = {
    b"version https://git-lfs": "git lfs pull",
    b"/annex/objects/": "git annex get",
}


@dataclass(frozen=True)
class Channel:
    """One topic of one file. definition: `.msg` texts, or "" where the file holds none. count:
    messages, as the file itself says. encoding: ``cdr``, or what only others can read."""

    topic: str
    type_name: str
    definition: str
    encoding: str
    count: int


class Raw(NamedTuple):
    """A message as recorded. data: CDR with its header of 4 bytes."""

    time_ns: int
    channel: Channel
    data: bytes


_NOTHING = Channel("", "", "", "", 0)
_STEPS_BACK = """
    SELECT topics.name, timestamp, newest FROM (
        SELECT topic_id, timestamp, MAX(timestamp) OVER (
            PARTITION BY topic_id ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS newest FROM messages
    ) JOIN topics ON topics.id = topic_id WHERE timestamp < newest - ? ORDER BY newest
"""


def in_order(streams: Iterable[tuple[int, Callable[[], Iterable[Raw]]]]) -> Iterator[Raw]:
    """Messages of several sources in order of time; of equal times, those of the first source.

    Each source is (time of its first message, function that gives its messages in order): none is
    asked before its time has come, so that hundreds of files do not fill the memory.
    """

    def lazily(begins_ns: int, read: Callable[[], Iterable[Raw]]) -> Iterator[Raw]:
        yield Raw(begins_ns, _NOTHING, b"")
        yield from read()

    merged = heapq.merge(*(lazily(*source) for source in streams), key=lambda raw: raw.time_ns)
    return (raw for raw in merged if raw.channel is not _NOTHING)


class Storage(Protocol):
    """An open file. begins_ns: time of its first message, 0 where it holds none."""

    path: Path
    channels: tuple[Channel, ...]
    begins_ns: int

    def messages(self, topics: Collection[str], start_ns: int, end_ns: int) -> Iterator[Raw]:
        """Messages of these topics with start_ns <= time < end_ns, in order of recording."""

    def close(self) -> None: ...


def first_bytes(path: Path) -> bytes:
    """The beginning of a file; raises BagError for one that cannot be opened or holds no data."""
    with _opened(path) as file:
        head = file.read(64)
    if not head:
        raise BagError(f"{path} is empty (0 bytes): copy it again from where it was recorded")
    for mark, remedy in _POINTERS.items():
        if head.startswith(mark):
            raise BagError(f"{path} is a pointer to data that were not fetched: run `{remedy}`")
    return head


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path, error=BagError)
    except OSError as error:
        raise BagError(f"{path} cannot be opened: {error.strerror}") from error


def open_storage(path: Path, name: Path | None = None) -> Storage:
    """Open the file at ``path``; name: what to call it in messages, where that is another."""
    name = name or path
    head = first_bytes(path)
    if head.startswith(MCAP_MAGIC):
        return McapStorage(path, name)
    if head.startswith(SQLITE_MAGIC):
        return SqliteStorage(path, name)
    if head.startswith(_ROS1_MAGIC):
        raise BagError(f"{name} is a bag of ROS 1: convert it, `pip install rosbags` and "
                       f"`rosbags-convert --src {name.name} --dst converted`")
    raise BagError(f"{name} is neither an MCAP nor an SQLite file: give a bag folder, or an .mcap "
                   "or .db3 file")


class McapStorage:
    """An MCAP file with ROS 2 messages; channels of other schemas do not disturb."""

    def __init__(self, path: Path, name: Path) -> None:
        self.path, self._last_ns = name, 0
        self._file = _opened(path)
        try:
            with self._explained():
                summary = self._summary()
                if summary is None or summary.statistics is None or not summary.channels:
                    summary = self._scan()
                statistics = summary.statistics
                assert statistics is not None
                if sum(statistics.channel_message_counts.values()) != statistics.message_count or (
                        summary.chunk_indexes and not statistics.message_count):
                    statistics = self._scan().statistics  # a writer need not count
                    assert statistics is not None
                self._chunks = sorted(summary.chunk_indexes, key=lambda c: c.message_start_time)
                self._indexed, self._in_order = bool(self._chunks), set[str]()
                self.begins_ns = statistics.message_start_time
                counts = statistics.channel_message_counts
                self._kinds = {
                    key: _channel(summary.schemas.get(c.schema_id), c, counts.get(key, 0))
                    for key, c in summary.channels.items()
                }
                self.channels = tuple(self._kinds.values())
        except BaseException:
            self._file.close()
            raise

    def messages(self, topics: Collection[str], start_ns: int, end_ns: int) -> Iterator[Raw]:
        with self._explained():
            self._check_order(topics)
            for raw in self._by_index(topics, end_ns) if self._indexed else self._as_written():
                self._last_ns = raw.time_ns
                if raw.channel.topic in topics and start_ns <= raw.time_ns < end_ns:
                    yield raw

    def close(self) -> None:
        self._file.close()

    def _by_index(self, topics: Collection[str], end_ns: int) -> Iterator[Raw]:
        """In order of time; a chunk is read when its first message is due."""
        return in_order(
            (chunk.message_start_time, partial(self._chunk, chunk, topics))
            for chunk in self._chunks
            if chunk.message_start_time < end_ns
        )

    def _chunk(self, index: ChunkIndex, topics: Collection[str]) -> list[Raw]:
        raws = self._written(index)
        self._check_steps(raws, topics, {})
        return sorted(raws, key=lambda raw: raw.time_ns)

    def _written(self, index: ChunkIndex) -> list[Raw]:
        """The messages of a chunk as they stand in it."""
        self._file.seek(index.chunk_start_offset + 1 + 8)
        chunk = Chunk.read(ReadDataStream(self._file))
        return [
            Raw(record.log_time, self._kinds[record.channel_id], record.data)
            for record in self._unpacked(chunk)
            if isinstance(record, Message)
        ]

    def _check_order(self, topics: Collection[str]) -> None:
        """Raise BagError where the time of one of these topics steps back in the file: in order of
        time, what was recorded before and after would be mixed."""
        unknown, newest = set(topics) - self._in_order, dict[str, int]()
        for index in self._doubtful() if unknown else ():
            self._check_steps(self._written(index), unknown, newest)
        self._in_order |= unknown

    def _check_steps(
        self, raws: Iterable[Raw], topics: Collection[str], newest: dict[str, int]
    ) -> None:
        """newest: time by topic, of what stands before ``raws``; kept up."""
        for time_ns, channel, _ in raws:
            before_ns = newest.get(channel.topic, 0)
            if channel.topic in topics and time_ns < before_ns - BACK_NS:
                raise _two_runs(self.path, channel.topic, time_ns, before_ns)
            newest[channel.topic] = max(before_ns, time_ns)

    def _doubtful(self) -> list[ChunkIndex]:
        """Chunks in the order of the file, if one begins before the end of another: those of a
        usual recording do not, nor do those that hold one moment alone."""
        chunks, newest_ns = sorted(self._chunks, key=lambda c: c.chunk_start_offset), 0
        for chunk in chunks:
            if chunk.message_start_time < newest_ns - BACK_NS:
                return chunks
            newest_ns = max(newest_ns, chunk.message_end_time)
        return []

    def _as_written(self) -> Iterator[Raw]:
        """Without an index, sorting would take the whole file into memory: order is asked for."""
        newest_ns = 0
        for record in self._records():
            if isinstance(record, Message):
                if record.log_time < newest_ns:
                    raise BagError(
                        f"{self.path} has no index and its messages are not in order at "
                        f"{moment(record.log_time)}: `mcap recover {self.path.name} -o "
                        "recovered.mcap` writes both"
                    )
                newest_ns = record.log_time
                yield Raw(record.log_time, self._kinds[record.channel_id], record.data)

    def _records(self) -> Iterator[McapRecord]:
        """All there is, from the beginning, chunks unpacked."""
        self._file.seek(0)
        most = limit("bag_chunk_bytes")
        for record in StreamReader(self._file, emit_chunks=True, record_size_limit=most).records:
            if isinstance(record, Chunk):
                yield from self._unpacked(record)
            else:
                yield record

    def _unpacked(self, chunk: Chunk) -> list[McapRecord]:
        """The records of a chunk, if they are not too large, whatever its headers say."""
        size = chunk.uncompressed_size
        within("bag_chunk_bytes", size, f"a chunk of {self.path}", BagError)
        if chunk.compression == "zstd":  # the library trusts the frame more than the header
            told = zstandard.frame_content_size(chunk.data)
            within("bag_chunk_bytes", told, f"a chunk of {self.path}", BagError)
        elif chunk.compression == "lz4":  # and of this one neither asks for a limit
            data = LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
            if len(data) != size:
                raise mcap.exceptions.McapError("a chunk of another size than its header says")
            chunk = replace(chunk, compression="", data=data)
        return breakup_chunk(chunk, validate_crc=True)

    def _summary(self) -> Summary | None:
        try:
            reader = SeekingReader(self._file, record_size_limit=limit("bag_chunk_bytes"))
            return reader.get_summary()
        except Exception:
            self._scan()  # breaks off where the file does, and so knows until when it is good
            raise

    def _scan(self) -> Summary:
        """What a summary would say, of a file that has none."""
        summary, counts, begins_ns = Summary(), Counter[int](), 0
        for record in self._records():
            if isinstance(record, Schema):
                summary.schemas[record.id] = record
            elif isinstance(record, McapChannel):
                summary.channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
                self._last_ns = record.log_time
                begins_ns = min(begins_ns or record.log_time, record.log_time)
        summary.statistics = Statistics(
            attachment_count=0, channel_count=len(summary.channels),
            channel_message_counts=dict(counts), chunk_count=0, message_count=counts.total(),
            message_end_time=self._last_ns, message_start_time=begins_ns, metadata_count=0,
            schema_count=len(summary.schemas),
        )
        return summary

    def _explained(self) -> Any:
        return explained(self.path, lambda: self._last_ns,
                         f"`mcap recover {self.path.name} -o recovered.mcap` saves what is left")


class SqliteStorage:
    """A `.db3` file."""

    def __init__(self, path: Path, name: Path) -> None:
        self.path, self._last_ns = name, 0
        self._place, self._in_order = path, False
        self._reader = Reader(path)
        with self._explained():
            self._reader.open()
            self.begins_ns = self._reader.start_time if self._reader.message_count else 0
            self.channels = tuple(
                Channel(c.topic, c.msgtype, _ros2msg(c.msgdef), _serialization(c), c.msgcount)
                for c in self._reader.connections
            )

    def messages(self, topics: Collection[str], start_ns: int, end_ns: int) -> Iterator[Raw]:
        pairs = zip(self._reader.connections, self.channels, strict=True)
        channels = {connection.id: channel for connection, channel in pairs}
        wanted = [c for c in self._reader.connections if c.topic in topics]
        if not wanted:
            return
        with self._explained():
            self._check_order(topics)
            for connection, time_ns, data in self._reader.messages(wanted, start_ns, end_ns):
                self._last_ns = time_ns
                yield Raw(time_ns, channels[connection.id], data)

    def close(self) -> None:
        self._reader.close()

    def _check_order(self, topics: Collection[str]) -> None:
        """As that of an MCAP file."""
        if self._in_order:
            return
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with closing(apsw.Connection(f"file:{self._place}?immutable=1", flags=flags)) as database:
            steps: list[Any] = database.execute(_STEPS_BACK, (BACK_NS,)).fetchall()
        for topic, time_ns, before_ns in steps:
            if topic in topics:
                raise _two_runs(self.path, topic, time_ns, before_ns)
        self._in_order = not steps

    def _explained(self) -> Any:
        return explained(self.path, lambda: self._last_ns,
                         f"`sqlite3 {self.path.name} .recover` saves what is left")


@contextmanager
def explained(path: Path, last_ns: Callable[[], int], remedy: str) -> Iterator[None]:
    """Whatever a library raises over a damaged file, as one sentence with a remedy."""
    try:
        yield
    except (BagError, GeneratorExit, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        after = f" after {moment(last_ns())}, the last good message" if last_ns() else ""
        raise BagError(f"{path} cannot be read{after}: {_cause(error)}; {remedy}") from error


def _two_runs(path: Path, topic: str, time_ns: int, before_ns: int) -> BagError:
    return BagError(
        f"{path}: the time of recording steps back by {(before_ns - time_ns) / 1e9:.1f} s at "
        f"{moment(before_ns)} on {topic}, as where a simulator starts again, and both runs would "
        "be mixed: record each run to a bag of its own"
    )


def _cause(error: Exception) -> str:
    """Why, in our words: the libraries' own speak of opcodes and offsets."""
    causes: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (CRCValidationError, "a checksum does not fit its data"),
        (zstandard.ZstdError, "compressed data are damaged"),
        (mcap.exceptions.UnsupportedCompressionError, "its compression is not known here"),
        ((apsw.CorruptError, apsw.NotADBError), "the database is damaged"),
        (apsw.Error, "the database cannot be opened, or lacks the tables of a bag"),
        (ReaderError, "the database lacks the tables of a bag, or is damaged"),
        ((mcap.exceptions.McapError, struct.error),
         "it is damaged, or was cut off before its end was written"),
        (OSError, "the disk reports an error"),
    )
    return next((told for kind, told in causes if isinstance(error, kind)), "its data are damaged")


def _channel(schema: Any, channel: Any, count: int) -> Channel:
    definition = ""
    if schema is not None and schema.encoding == "ros2msg":
        definition = schema.data.decode("utf-8", errors="replace")
    name = schema.name if schema is not None else ""
    return Channel(channel.topic, name, definition, channel.message_encoding, count)


def _ros2msg(definition: Any) -> str:
    return str(definition.data) if definition.format == MessageDefinitionFormat.MSG else ""


def _serialization(connection: Any) -> str:
    return str(connection.ext.serialization_format)
