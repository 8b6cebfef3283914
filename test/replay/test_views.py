# SPDX-License-Identifier: Apache-2.0
"""Which camera of a recording is which view of a policy."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from test.replay.datasets import IMAGE, VIDEO, dataset
from test.replay.making import image_message
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.lerobot import LeRobotEpisode
from vla_infoentropy_ros.replay.types import COMPRESSED_IMAGE, RAW_IMAGE, packed


def bag(path: Path, *topics: str) -> Path:
    """One image on each topic, the first topic first; the last comes twice."""
    packed_image = packed(COMPRESSED_IMAGE, {"header": (10**9, "camera"), "format": "png"})
    return write_bag(path, [
        RawMessage(topic, COMPRESSED_IMAGE, 10**9 + place, packed_image)
        if topic.endswith("/compressed") else
        RawMessage(topic, RAW_IMAGE, 10**9 + place, image_message(1, place))
        for place, topic in enumerate([*topics, topics[-1]])
    ])


@pytest.mark.parametrize(("topics", "ordered"), [
    (["/wrist_image", "/third_image", "/image"], ["/image", "/wrist_image", "/third_image"]),
    (["/arm/wrist_image/compressed", "/image", "/image/compressed"],
     ["/image", "/arm/wrist_image/compressed"]),
    (["/third_image", "/wrist_image", "/image"], ["/image", "/wrist_image"]),
    (["/camera/color"], ["/camera/color"]),
])
def test_views_are_taken_by_the_names_of_the_node_s_topics(
    tmp_path: Path, topics: list[str], ordered: list[str]
) -> None:
    with closing(BagRecording(bag(tmp_path / "bag", *topics))) as recording:
        recording.assign(len(ordered), ())
        assert recording.cameras == ordered
        assert recording.images == 1 + (ordered[0] == topics[-1])


@pytest.mark.parametrize(("topics", "views", "told"), [
    (["/left", "/right"], 2, "/left, /right: give --image-topic once per view, in the policy's"),
    (["/a/image", "/b/image", "/wrist_image"], 3, "give --image-topic once per view"),
    (["/image", "/image/compressed"], 2, "2 views, but there are 1 image topics: /image. Give"),
    (["/image", "/wrist_image"], 1, r"1 view, but there are 2 image topics.*--image-topic once"),
])
def test_views_whose_order_nobody_knows_are_asked_for(
    tmp_path: Path, topics: list[str], views: int, told: str
) -> None:
    with (closing(BagRecording(bag(tmp_path / "bag", *topics))) as recording,
          pytest.raises(BagError, match=told)):
        recording.assign(views, ())


def test_views_that_are_named_come_as_they_are_named(tmp_path: Path) -> None:
    path, named = bag(tmp_path / "bag", "/image", "/wrist_image"), ["/wrist_image", "/image"]
    with closing(BagRecording(path, named)) as recording:
        recording.assign(2, ())
        assert recording.cameras == named
        with pytest.raises(BagError, match="takes 3 views, but there are 2"):
            recording.assign(3, ())


def test_a_camera_that_was_recorded_twice_is_one_view(tmp_path: Path) -> None:
    path = bag(tmp_path / "bag", "/image", "/image/compressed")
    with closing(BagRecording(path)) as recording:
        assert recording.cameras == ["/image"]
        (note,) = recording.notes
    assert "/image/compressed: not replayed beside the raw images" in note
    with closing(BagRecording(path, ["/image/compressed"])) as recording:
        assert (recording.cameras, recording.notes) == (["/image/compressed"], [])
    with pytest.raises(BagError, match=r"names the camera /image of .* for several views"):
        BagRecording(path, ["/image", "/image/compressed"])


def test_cameras_of_a_dataset_are_taken_by_the_names_of_training(tmp_path: Path) -> None:
    path = dataset(tmp_path / "set")
    episode = LeRobotEpisode(path, 0)
    episode.assign(2, ["observation.images.wrist", "observation.images.top"])
    assert episode.cameras == [IMAGE, VIDEO]
    for names in ((), ("observation.images.wrist", "observation.images.front")):
        with pytest.raises(BagError, match=r"image topics of .*set is which.*give --image-topic"):
            LeRobotEpisode(path, 0).assign(2, names)
    named = LeRobotEpisode(path, 0, [IMAGE, VIDEO])
    named.assign(2, ())
    assert named.cameras == [IMAGE, VIDEO]
