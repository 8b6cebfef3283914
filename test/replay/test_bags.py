# SPDX-License-Identifier: Apache-2.0
"""Bags written and read back; real recordings; bags nobody can read."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from vla_infoentropy_ros.replay.bag_reader import (
    COMPRESSED_IMAGE,
    EPISODE,
    RAW_IMAGE,
    Bag,
    BagError,
)
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.types import type_store

DATA = Path(__file__).parents[1] / "data"
STORE = type_store()


def image_message(stamp_s: int, value: int, **changes: object) -> bytes:
    """A 4x6 rgb8 image of one grey value as CDR."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_s, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    fields = {"header": header, "height": 4, "width": 6, "encoding": "rgb8", "is_bigendian": 0,
              "step": 18, "data": np.full(72, value, dtype=np.uint8)} | changes
    return bytes(STORE.serialize_cdr(types[RAW_IMAGE](**fields), RAW_IMAGE))


def text_message(text: str) -> bytes:
    """A std_msgs/String as CDR."""
    name = "std_msgs/msg/String"
    return bytes(STORE.serialize_cdr(STORE.types[name](data=text), name))


def episode_message() -> bytes:
    """The end of an episode as CDR."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=9, nanosec=0)
    message = types[EPISODE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=""), seed=1, instruction="a",
        success=True, steps=2, duration=1.0, reason="success", detail="",
        command_latency_ms=np.zeros(2),
    )
    return bytes(STORE.serialize_cdr(message, EPISODE))


def small_bag(path: Path, storage: str = "mcap") -> Path:
    """An instruction and three frames, the last of a second episode."""
    kinds = ("/instruction", "std_msgs/msg/String"), ("/image", RAW_IMAGE), ("/episode", EPISODE)
    instruction, image, episode = kinds
    return write_bag(path, [
        RawMessage(*image, 30, image_message(2, 20)),
        RawMessage(*instruction, 10, text_message("put it there"), latched=True),
        RawMessage(*image, 20, image_message(1, 10)),
        RawMessage(*episode, 35, episode_message()),
        RawMessage(*image, 40, image_message(3, 30)),
    ], storage)


def fingerprint(path: Path) -> dict[str, str]:
    """Content and change time of every file below a folder."""
    return {
        str(p): f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.stat().st_mtime_ns}"
        for p in sorted(path.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_round_trip(tmp_path: Path, storage: str) -> None:
    path = small_bag(tmp_path / "bag", storage)
    before = fingerprint(path)
    with Bag(path) as bag:
        topics = bag.choose_image_topics([], 1)
        frames = list(bag.frames(topics, bag.choose_instruction_topic()))
    assert topics == ["/image"]
    assert [frame.stamp_ns for frame in frames] == [1_000_000_000, 2_000_000_000, 3_000_000_000]
    assert [int(frame.images[0][0, 0, 0]) for frame in frames] == [10, 20, 30]
    assert frames[0].images[0].shape == (4, 6, 3)
    assert [frame.begins for frame in frames] == [False, False, True]
    assert {frame.instruction for frame in frames} == {"put it there"}
    assert fingerprint(path) == before, "reading changes nothing and writes nothing beside"


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


@pytest.mark.parametrize("name", ["bridge_ep00_mcap", "bridge_ep01_sqlite3"])
def test_real_recordings(name: str) -> None:
    before = fingerprint(DATA / "bags" / name)
    with Bag(DATA / "bags" / name) as bag:
        assert bag.topics(COMPRESSED_IMAGE) == [f"/bridge/image_{i}/compressed" for i in range(3)]
        with pytest.raises(BagError, match=r"takes 1 view, but there are 3 .*--image-topic once"):
            bag.choose_image_topics([], 1)
        with pytest.raises(BagError, match="did you mean /bridge/image_0/compressed"):
            bag.choose_image_topics(["/bridge/image_0/compresed"], 1)
        topics = bag.choose_image_topics(["/bridge/image_1/compressed",
                                          "/bridge/image_0/compressed"], 2)
        frames = list(bag.frames(topics, bag.choose_instruction_topic()))
        assert bag.actions() == []
    assert len(frames) in (9, 10)  # the first view's first picture may come before the second's
    assert all(image.shape == (64, 64, 3) for frame in frames for image in frame.images)
    assert frames[0].instruction
    assert np.ptp(frames[0].images[0]) > 50, "a picture, not a plain"
    assert all(a.stamp_ns < b.stamp_ns for a, b in itertools.pairwise(frames))
    assert fingerprint(DATA / "bags" / name) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bad/empty_bag", "holds no messages"),
        ("bad/missing_metadata", "ros2 bag reindex.*multiple_files_0.mcap"),
        ("bad/wrong_serialization", "wrong_format.*only cdr"),
        ("bags/piper_arm_one_frame.mcap", "Profile is not ros2.*ros2 bag record"),
        ("bags/none", "does not exist: give a bag folder"),
        ("README.md", "Unrecognized storage format.*mcap"),
        ("..", "is no bag"),
    ],
)
def test_bags_that_cannot_be_read(name: str, told: str) -> None:
    with pytest.raises(BagError, match=told):
        Bag(DATA / name)


def test_a_bag_without_images(tmp_path: Path) -> None:
    with (Bag(DATA / "bad/missing_metadata/multiple_files_0.mcap") as bag,
          pytest.raises(BagError, match=r"holds no images.*/chatter")):
        bag.choose_image_topics([], 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"encoding": "16UC1"}, "16UC1.*rgb8"), ({"data": np.zeros(0, np.uint8)}, "0 bytes of data"),
     ({"step": 7}, "step 7")],
)
def test_images_that_are_not_what_they_say(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = write_bag(tmp_path / "bag",
                     [RawMessage("/image", RAW_IMAGE, 1, image_message(1, 5, **changes))])
    with Bag(path) as bag, pytest.raises(BagError, match=told):
        list(bag.frames(["/image"]))


def test_a_cut_file(tmp_path: Path) -> None:
    path = small_bag(tmp_path / "bag")
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BagError, match="cannot be read"):
        Bag(path)


def test_a_message_of_another_definition(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", [RawMessage("/image", RAW_IMAGE, 1, b"\0\1\0\0" + b"\xff")])
    with Bag(path) as bag, pytest.raises(BagError, match="no valid sensor_msgs/msg/Image"):
        list(bag.frames(["/image"]))
