# SPDX-License-Identifier: Apache-2.0
"""Bags as they come: every message in order and accounted for, or one sentence."""

from __future__ import annotations

import io
import shutil
import sqlite3
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import Reader

from test.replay.making import CASES, DATA, fingerprint, image_message, small_bag, text_message
from vla_infoentropy_ros.replay.bag_reader import Bag
from vla_infoentropy_ros.replay.bag_writer import BagWriter, RawMessage, write_bag
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.types import (
    COMPRESSED_IMAGE,
    RAW_IMAGE,
    STRING,
    TF_MESSAGE,
    stamp_ns,
    store_for,
)

CAMERA = "/camera/image_raw"


def read(path: Path) -> tuple[list[float], Bag]:
    """Stamps of the camera's images, seconds after the first second of the cases; the closed bag.
    """
    with Bag(path) as bag:
        topics = bag.topics(RAW_IMAGE, COMPRESSED_IMAGE, STRING)
        found = list(bag.messages(topics))
        assert [r.time_ns for r in found] == sorted(r.time_ns for r in found)
        assert [str(each) for each in bag.shortfalls(topics)] == []
    stamps = [stamp_ns(r.message.header.stamp) for r in found if r.type_name != STRING]
    return [round(stamp / 1e9 - 1_700_000_000, 3) for stamp in stamps], bag


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_round_trip(tmp_path: Path, storage: str) -> None:
    path = small_bag(tmp_path / "bag", storage)
    before = fingerprint(path)
    with Bag(path) as bag:
        found = list(bag.messages(["/instruction", "/image", "/episode"]))
    assert [r.time_ns / 1e9 for r in found] == [1, 2, 3, 3.5, 4]
    assert found[0].message.data == "put it there"
    assert [int(r.message.data[0]) for r in found if r.topic == "/image"] == [10, 20, 30]
    assert fingerprint(path) == before, "reading changes nothing and writes nothing beside"


@pytest.mark.parametrize("name", ["bridge_ep00_mcap", "bridge_ep01_sqlite3"])
def test_real_recordings(name: str) -> None:
    before = fingerprint(DATA / "bags" / name)
    with Bag(DATA / "bags" / name) as bag:
        topics = bag.topics(COMPRESSED_IMAGE)
        assert topics == [f"/bridge/image_{i}/compressed" for i in range(3)]
        assert set(Counter(r.topic for r in bag.messages(topics)).values()) == {10}
    assert fingerprint(DATA / "bags" / name) == before


@pytest.mark.parametrize(
    ("case", "frames"),
    [("split_oneq", 6), ("interleave", 12), ("wrongorder", 12), ("empty_storage_id", 6),
     ("msgz_lie", 12), ("mixed.mcap", 4), ("samestamp.mcap", 4), ("twocams.mcap", 8)],
)
def test_every_frame_arrives_in_order(case: str, frames: int) -> None:
    before = fingerprint(CASES / case)
    stamps, bag = read(CASES / case)
    assert len(stamps) == frames
    assert stamps == sorted(stamps)
    told = " ".join(bag.notes)
    assert ("messages are compressed, but they are not" in told) == (case == "msgz_lie")
    assert fingerprint(CASES / case) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cases/corrupt.mcap", r"corrupt.mcap cannot be read after 1700000002.005 s, the last good "
         r"message: compressed data are damaged; `mcap recover corrupt.mcap -o recovered.mcap`"),
        ("cases/cut.mcap", r"cut.mcap cannot be read after 1700000000.405 s.*was cut off.*`mcap "),
        ("cases/filez_trunc", r"filez_0.db3.zstd was cut off: it unpacks to \d+ of 180224 bytes"),
        ("cases/missingsplit", r"lacks a_1.mcap, which its metadata.yaml lists; it held 6 of 13 "
         "messages: look for it where the bag was recorded"),
        ("bad/empty_bag", "holds no messages"),
        ("bad/missing_metadata", "ros2 bag reindex.*multiple_files_0.mcap"),
        ("bad/wrong_serialization", "wrong_format; only cdr"),
        ("bags/none", "does not exist: give a bag folder"),
        ("README.md", "neither an MCAP nor an SQLite file"),
        ("..", "is no bag"),
    ],
)
def test_bags_that_cannot_be_read(name: str, told: str) -> None:
    with pytest.raises(BagError, match=told) as caught:
        read(DATA / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (b"/annex/objects/SHA256E-s1", "run `git annex get`"),
        (b"", r"is empty \(0 bytes\)"),
        (b"SQLite format 3\0" + bytes(4096), "`sqlite3 a.db3 .recover`"),
        (b"\x89MCAP0\r\n" + b"\xff" * 100, "`mcap recover a.db3"),
        (zstandard.compress(b"hello"), "neither an MCAP nor an SQLite"),
        (b"#ROSBAG V2.0\n", "a.db3 is a bag of ROS 1: convert it"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "zstd data cannot be unpacked"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.db3").write_bytes(content)
    with pytest.raises(BagError, match=told):
        Bag(tmp_path / "a.db3")


@pytest.mark.parametrize("content", ["", "a: [", "rosbag2_bagfile_information: {}", "[1]"])
def test_metadata_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.yaml").write_text(content)
    with pytest.raises(BagError, match=r"metadata.yaml"):
        Bag(tmp_path)


@pytest.mark.parametrize("name", ["take #2.db3", "50%41.db3", "what?now.db3", "a.db", "a.mcap"])
def test_a_database_of_any_name(tmp_path: Path, name: str) -> None:
    path = small_bag(tmp_path / "bag", "sqlite3").rename(tmp_path / name)
    (database,) = path.glob("*.db3")
    plain = database.rename(path / name)
    packed = path / f"{name}.zstd"
    packed.write_bytes(zstandard.compress(plain.read_bytes()))
    before = fingerprint(path)
    for file in (plain, packed):
        with Bag(file) as bag:
            assert len(list(bag.messages(["/image"]))) == 3
    assert fingerprint(path) == before


def test_a_part_that_the_metadata_do_not_list_is_told(tmp_path: Path) -> None:
    path = small_bag(tmp_path / "bag")
    with Bag(path) as bag:
        assert bag.notes == []
    (path / "bag_1.mcap").write_bytes((path / "bag.mcap").read_bytes())
    with Bag(path) as bag:
        assert len(list(bag.messages(["/image"]))) == 3
        (note,) = bag.notes
    assert "does not list bag_1.mcap, which was not read" in note and "ros2 bag reindex" in note


def test_less_than_was_announced_is_told_with_both_numbers(tmp_path: Path) -> None:
    path = small_bag(tmp_path / "bag")
    place = path / "metadata.yaml"
    text = place.read_text()
    assert text.count("message_count: 3") == 1
    place.write_text(text.replace("message_count: 3", "message_count: 7"))
    with Bag(path) as bag:
        list(bag.messages(["/image", "/instruction"]))
        (lost,) = bag.shortfalls(["/image", "/instruction"])
    assert str(lost) == "/image: 7 messages announced, 3 delivered"


def test_a_database_that_was_not_closed(tmp_path: Path) -> None:
    """Its last messages stand in the write-ahead log; both files stay as they are."""
    path = small_bag(tmp_path / "bag", "sqlite3")
    live = sqlite3.connect(next(path.glob("*.db3")), isolation_level=None)
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("INSERT INTO messages SELECT 99, topic_id, 5000000000, data FROM messages "
                 "WHERE timestamp = 4000000000")
    crashed = shutil.copytree(path, tmp_path / "crashed")
    live.close()
    (database,) = crashed.glob("*.db3")
    assert (crashed / f"{database.name}-wal").stat().st_size
    before = fingerprint(crashed)
    with Bag(database) as bag:
        assert [r.time_ns / 1e9 for r in bag.messages(["/image"])] == [2, 3, 4, 5]
        assert "read from a copy" in bag.notes[0]
    assert fingerprint(crashed) == before


def test_a_file_compressed_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_bag(tmp_path / "bag")
    (plain,) = path.glob("*.mcap")
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(zstandard.compress(plain.read_bytes()))
    with Bag(packed) as bag:
        assert len(list(bag.messages(["/image"]))) == 3
    monkeypatch.setattr("vla_infoentropy_ros.replay.bag_folder.limit", lambda name: 1000)
    monkeypatch.setattr("vla_infoentropy_ros.foreign.budgets.limit", lambda name: 1000)
    with pytest.raises(BagError, match="1,001 bytes, at most 1,000 are taken"):
        Bag(packed)


def test_messages_compressed_one_by_one(tmp_path: Path) -> None:
    data = zstandard.compress(image_message(1, 5))
    path = write_bag(tmp_path / "bag", [RawMessage("/image", RAW_IMAGE, 1, data),
                                        RawMessage("/image", RAW_IMAGE, 2, data[:-9])])
    place = path / "metadata.yaml"
    place.write_text(place.read_text().replace("compression_mode: ''", "compression_mode: MESSAGE"))
    with Bag(path) as bag:
        messages = bag.messages(["/image"])
        assert int(next(messages).message.data[0]) == 5
        with pytest.raises(BagError, match=r"compressed message on /image in .* is damaged"):
            next(messages)


@pytest.mark.parametrize("mode", ["''", "FILE"])
def test_messages_are_compressed_though_the_metadata_deny_it(tmp_path: Path, mode: str) -> None:
    data = zstandard.compress(image_message(1, 5))
    path = write_bag(tmp_path / "bag", [RawMessage("/image", RAW_IMAGE, 1, data)])
    place = path / "metadata.yaml"
    place.write_text(place.read_text().replace(
        "compression_mode: ''", f"compression_mode: {mode}"))
    with Bag(path) as bag:
        (found,) = bag.messages(["/image"])
        assert int(found.message.data[0]) == 5
        (note,) = bag.notes
    assert "are compressed one by one, which no metadata.yaml says: they were unpacked" in note


def test_a_message_of_another_definition(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", [RawMessage("/image", RAW_IMAGE, 1, b"\0\1\0\0" + b"\xff")])
    with Bag(path) as bag, pytest.raises(BagError, match="no valid sensor_msgs/msg/Image"):
        list(bag.messages(["/image"]))


def test_one_message_that_is_none_is_dropped_and_counted(tmp_path: Path) -> None:
    """As in the node; the others come."""
    good = [RawMessage("/image", RAW_IMAGE, s * 10**9, image_message(s, s)) for s in (1, 2, 4)]
    bad = RawMessage("/image", RAW_IMAGE, 3 * 10**9, good[0].data[:40])
    with Bag(write_bag(tmp_path / "bag", [*good, bad])) as bag:
        assert [r.time_ns / 1e9 for r in bag.messages(["/image"])] == [1, 2, 4]
        assert [str(lost) for lost in bag.shortfalls(["/image"])] == [
            "/image: 4 messages announced, 3 delivered"]
        (note,) = bag.notes
    assert note.startswith("dropped: a message on /image") and "(40 bytes)" in note
    with (Bag(write_bag(tmp_path / "none", [bad])) as bag,
          pytest.raises(BagError, match="is no valid sensor_msgs/msg/Image")):
        list(bag.messages(["/image"]))


@pytest.mark.parametrize(("kind", "definition", "field"), [
    (STRING, "string text", "data"),
    (RAW_IMAGE, "uint32 height\nuint32 width", "header.stamp.sec"),
    (COMPRESSED_IMAGE, "Header header\nuint8[] data\n" + "=" * 80 +
     "\nMSG: std_msgs/Header\nstring frame_id\nfloat64 stamp", "header.stamp.sec"),
    (TF_MESSAGE, "geometry_msgs/TransformStamped[] transforms\n" + "=" * 80 +
     "\nMSG: geometry_msgs/TransformStamped\nstring child_frame_id", "transforms.header.stamp.sec"),
])
def test_a_definition_without_a_field_that_is_read_is_refused(
    kind: str, definition: str, field: str
) -> None:
    with pytest.raises(BagError, match=f"definition of {kind} has no {field}, which is read"):
        store_for(kind, definition)


def test_a_definition_with_fields_of_its_own_is_read(tmp_path: Path) -> None:
    for definition, told in (("string text", "topic /instruction of .*a.mcap: the bag's def"),
                             ("string data\nuint8[] more", "")):
        with (tmp_path / "a.mcap").open("wb") as file:
            writer = McapWriter(file)
            writer.start()
            schema = writer.register_schema(STRING, "ros2msg", definition.encode())
            channel = writer.register_channel("/instruction", "cdr", schema)
            writer.add_message(channel, 1, text_message("red") + bytes(4), 1)
            writer.finish()
        with Bag(tmp_path / "a.mcap") as bag:
            if told:
                with pytest.raises(BagError, match=told):
                    list(bag.messages(["/instruction"]))
            else:
                assert next(bag.messages(["/instruction"])).message.data == "red"


@pytest.mark.parametrize("total", [True, False])
def test_a_file_whose_writer_did_not_count(tmp_path: Path, total: bool) -> None:
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = McapWriter(file)
        writer.start()
        schema = writer.register_schema(STRING, "ros2msg", b"string data")
        channel = writer.register_channel("/instruction", "cdr", schema)
        for time_ns in (1, 2):
            writer.add_message(channel, time_ns, text_message("red"), time_ns)
        statistics = vars(writer)["_Writer__statistics"]
        statistics.channel_message_counts.clear()
        statistics.message_count *= total
        writer.finish()
    with Bag(tmp_path / "a.mcap") as bag:
        assert bag.count("/instruction") == 2
        assert [r.time_ns for r in bag.messages(["/instruction"])] == [1, 2]


def two_runs(path: Path, chunk_size: int, topics: int = 1) -> Path:
    """Images of a recorder whose clock begins anew after the third, on so many topics: the second
    run is on the last of them."""
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=chunk_size)
        writer.start()
        schema = writer.register_schema(RAW_IMAGE, "ros2msg", b"")
        channels = [writer.register_channel(f"/image_{place}", "cdr", schema)
                    for place in range(topics)]
        for channel in (channels[0], channels[-1]):
            for s in (1, 2, 3):
                writer.add_message(channel, s * 10**9, image_message(s, s), s * 10**9)
        writer.finish()
    return path


@pytest.mark.parametrize("chunk_size", [1, 10**6])
def test_two_runs_are_not_mixed(tmp_path: Path, chunk_size: int) -> None:
    with (Bag(two_runs(tmp_path / "bag.mcap", chunk_size)) as bag,
          pytest.raises(BagError, match=r"bag.mcap: the time of recording steps back by 2.0 s at "
                        r"3.000 s on /image_0, .*: record each run to a bag of its own")):
        list(bag.messages(["/image_0"]))
    with Bag(two_runs(tmp_path / "topics.mcap", chunk_size, topics=2)) as bag:
        assert [r.time_ns / 1e9 for r in bag.messages(["/image_0", "/image_1"])] == [
            1, 1, 2, 2, 3, 3], "a writer may put topics one behind the other"


def test_two_runs_in_a_database_are_not_mixed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", "sqlite3") as writer:
        for topic in ("/image", "/image", "/other"):
            for s in (1, 2, 3):
                writer.add(RawMessage(topic, RAW_IMAGE, s * 10**9, image_message(s, s)))
    before = fingerprint(tmp_path / "bag")
    with Bag(tmp_path / "bag") as bag:
        assert [r.time_ns / 1e9 for r in bag.messages(["/other"])] == [1, 2, 3]
        with pytest.raises(BagError, match=r"steps back by 2.0 s at 3.000 s on /image, .*runs wo"):
            list(bag.messages(["/image", "/other"]))
    assert fingerprint(tmp_path / "bag") == before


def test_definitions_and_qos_travel_with_the_bag(tmp_path: Path) -> None:
    path = small_bag(tmp_path / "bag")
    assert "version: 8" in (path / "metadata.yaml").read_text()
    with Reader(path) as reader:
        found = {c.topic: c for c in reader.connections}
    assert "uint64 seed" in found["/episode"].msgdef.data
    assert found["/instruction"].ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
    assert found["/image"].ext.offered_qos_profiles[0].durability.name == "VOLATILE"


def test_a_bag_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = small_bag(tmp_path / "bag")
    small_bag(path)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(BagError, match="is no bag"):
        small_bag(path)
    assert (path / "notes.txt").exists()


def lz4_bag(path: Path, packed: Callable[[bytes], bytes]) -> Path:
    """One chunk with one instruction, as ``packed`` makes it, cut off behind it."""
    plain = io.BytesIO()
    writer = McapWriter(plain, compression=CompressionType.NONE)
    writer.start()
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/instruction", "cdr", schema)
    writer.add_message(channel, 10**9, text_message("put it there"), 10**9)
    writer.finish()
    plain.seek(0)
    records = StreamReader(plain, emit_chunks=True).records
    (chunk,) = (record for record in records if isinstance(record, Chunk))
    data = packed(chunk.data)
    body = struct.pack("<QQQII", 10**9, 10**9, len(chunk.data), 0, 3) + b"lz4"
    body += struct.pack("<Q", len(data)) + data
    path.write_bytes(b"\x89MCAP0\r\n" + b"\x01" + struct.pack("<QII", 8, 0, 0)
                     + b"\x06" + struct.pack("<Q", len(body)) + body)
    return path


def claims_a_terabyte(data: bytes) -> bytes:
    context = lz4.frame.create_compression_context()
    begin = lz4.frame.compress_begin(context, source_size=10**12)
    return bytes(begin) + lz4.frame.compress(data)[7 + 8 :]


def grows(data: bytes) -> bytes:
    return bytes(lz4.frame.compress(bytes(64 << 20), store_size=False))


@pytest.mark.parametrize("packed", [claims_a_terabyte, grows, lambda data: data])
def test_an_lz4_chunk_takes_no_more_than_its_header_says(
    tmp_path: Path, packed: Callable[[bytes], bytes]
) -> None:
    path = lz4_bag(tmp_path / "bag.mcap", packed)
    tracemalloc.start()
    try:
        with pytest.raises(BagError, match=r"bag.mcap cannot be read: .*`mcap recover bag.mcap"):
            Bag(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_lz4_chunk_is_read(tmp_path: Path) -> None:
    path = lz4_bag(tmp_path / "bag.mcap", lz4.frame.compress)
    with pytest.raises(BagError, match=r"cannot be read after 1.000 s.*was cut off"):
        Bag(path)
