# SPDX-License-Identifier: Apache-2.0
"""What is no bag: folders of pictures and LeRobot datasets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from test.replay.datasets import IMAGE, VIDEO, dataset, level, rewrite
from test.replay.making import small_bag
from vla_infoentropy_ros.driving.images import PackedPicture, RawPicture
from vla_infoentropy_ros.foreign import budgets
from vla_infoentropy_ros.foreign.budgets import Budget
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.lerobot import STATE, LeRobotEpisode
from vla_infoentropy_ros.replay.opening import open_recording
from vla_infoentropy_ros.replay.picture_folder import PictureFolder
from vla_infoentropy_ros.replay.recording import INSTRUCTION, RAW, Event, Window
from vla_infoentropy_ros.replay.types import stamp_ns


def options(path: Path, **changes: Any) -> argparse.Namespace:
    base: dict[str, Any] = {"recording": path, "episode": None, "image_topic": [], "rate": None,
                            "instruction_topic": "", "state_source": "", "state_joints": ""}
    return argparse.Namespace(**base | changes)


def grey(event: Event) -> int:
    kind = RawPicture if event.kind == RAW else PackedPicture
    return int(kind.of(event.content).rgb()[4, 4, 0])


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    folder = open_recording(options(tmp_path, rate=4.0))
    assert isinstance(folder, PictureFolder) and folder.images == 3
    events = list(folder.events(Window()))
    assert [grey(event) for event in events] == [1, 9, 10]
    assert [stamp_ns(event.content.header.stamp) for event in events] == [
        250_000_000, 500_000_000, 750_000_000]
    later = folder.events(Window(start_ns=200_000_000, end_ns=500_000_000))
    assert [grey(event) for event in later] == [9]
    with pytest.raises(BagError, match="--rate 0"):
        PictureFolder(tmp_path, 0.0)


@pytest.mark.parametrize(("changes", "kinds"), [
    ({"episode": 5}, ("bag", "pictures")), ({"rate": float("nan")}, ("bag", "set")),
    ({"rate": 30.0}, ("bag", "set")),
    ({"episode": 0}, ("bag", "pictures")), ({"rate": 5.0}, ("bag", "set")),
])
def test_options_of_another_kind_of_recording_are_refused(
    tmp_path: Path, changes: dict[str, Any], kinds: tuple[str, ...]
) -> None:
    small_bag(tmp_path / "bag")
    dataset(tmp_path / "set")
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures/1.png"), np.zeros((8, 8, 3), np.uint8))
    for kind in kinds:
        with pytest.raises(BagError, match=f"--{next(iter(changes))} .*{kind} is no .*leave it"):
            open_recording(options(tmp_path / kind, **changes))


def test_what_lies_among_pictures_is_told_and_no_picture_is_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame1.png"), np.zeros((8, 8, 3), np.uint8))
    assert PictureFolder(tmp_path, 5.0).notes == []
    cv2.imwrite(str(tmp_path / "frame2.bmp"), np.zeros((8, 8, 3), np.uint8))
    (note,) = PictureFolder(tmp_path, 5.0).notes
    assert note.startswith("1 file in ") and "as 'frame2.bmp'" in note
    (tmp_path / "frame3.png").symlink_to("gone.png")
    folder = PictureFolder(tmp_path, 5.0)
    assert folder.images == 2
    with pytest.raises(FileNotFoundError, match=r"frame3\.png"):
        list(folder.events(Window()))


@pytest.mark.parametrize("number", [0, 1])
def test_an_episode_of_a_dataset(tmp_path: Path, number: int) -> None:
    path = dataset(tmp_path / "set")
    episode = open_recording(options(path, episode=number))
    assert isinstance(episode, LeRobotEpisode)
    assert episode.cameras == [VIDEO, IMAGE]
    told, *images = episode.events(Window())
    assert (told.kind, told.content) == (INSTRUCTION, f"do task {number}")
    first, length = (0, 4) if number == 0 else (4, 6)
    wanted = [level(first + index) for index in range(length)]
    for view in (0, 1):
        seen = [grey(event) for event in images if event.view == view]
        np.testing.assert_allclose(seen, wanted, atol=6)
    assert [event.view for event in images[:4]] == [1, 0, 1, 0], "the first view begins a step"
    assert episode.shortfalls() == []


def test_a_dataset_that_holds_less_than_it_says(tmp_path: Path) -> None:
    path = dataset(tmp_path / "set", lengths=(4,))
    episode = LeRobotEpisode(path, 0, [VIDEO])
    episode.images = 9
    assert len(list(episode.events(Window()))) == 5
    (lost,) = episode.shortfalls()
    assert lost.startswith(f"{VIDEO}: 9 frames announced, 4 delivered; copy the dataset again")


@pytest.mark.parametrize(("number", "lost", "left"), [
    (0, (2, 3), [0, 1]), (0, (0,), [1, 2, 3]), (1, (4, 6), [5, 7, 8, 9]), (1, (9,), [4, 5, 6, 7, 8])
])
def test_a_frame_that_a_video_lost_is_told_and_no_other_takes_its_place(
    tmp_path: Path, number: int, lost: tuple[int, ...], left: list[int]
) -> None:
    episode = LeRobotEpisode(dataset(tmp_path / "set", lost=lost), number)
    images = [event for event in episode.events(Window()) if event.kind != INSTRUCTION]
    for view, wanted in ((0, left), (1, sorted({*left, *lost}))):
        seen = [event for event in images if event.view == view]
        np.testing.assert_allclose([grey(e) for e in seen], [level(i) for i in wanted], atol=6)
        first = 4 * number
        assert [stamp_ns(event.content.header.stamp) for event in seen] == [
            (index - first + 1) * 10**8 for index in wanted]
    (told,) = episode.shortfalls()
    assert told.startswith(
        f"{VIDEO}: {len(left) + len(lost)} frames announced, {len(left)} delivered")


def test_a_state_that_runs_out_is_told(tmp_path: Path) -> None:
    path = dataset(tmp_path / "set")
    place = path / "meta/info.json"
    info = json.loads(place.read_text())
    info["features"][STATE] = {"dtype": "float32", "names": ["one"]}
    place.write_text(json.dumps(info))
    rewrite(path / "data/chunk-000/file-000.parquet", lambda row: row | {
        STATE: [0.1], "episode_index": row["episode_index"] or row["frame_index"] // 3})
    episode = LeRobotEpisode(path, 0, [VIDEO], state=True)
    assert len(list(episode.events(Window()))) == 1 + 3 + 4
    (told,) = episode.shortfalls()
    assert told.startswith(f"{STATE}: 4 frames announced, 3 delivered")


def test_an_episode_of_several_tasks_says_which_is_its_instruction(tmp_path: Path) -> None:
    path = dataset(tmp_path / "set", lengths=(4,))
    rewrite(path / "meta/episodes/chunk-000/file-000.parquet",
            lambda row: row | {"tasks": ["open it", "close it"]})
    episode = LeRobotEpisode(path, 0, [IMAGE])
    (note,) = episode.notes
    assert "2 tasks" in note and "'open it'" in note
    assert next(iter(episode.events(Window()))).content == "open it"


def test_a_video_too_large_to_unpack_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dataset(tmp_path / "set", lengths=(4,))
    monkeypatch.setattr(budgets, "BUDGETS", budgets.BUDGETS | {
        "picture_bytes": Budget(3 * 64 * 48 - 1, "bytes", "a picture", raisable=True)})
    with pytest.raises(BagError, match=r"file-000.mp4: 9,216 bytes, at most 9,215"):
        list(LeRobotEpisode(path, 0, [VIDEO]).events(Window()))


def test_a_table_too_large_to_unpack_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dataset(tmp_path / "set", lengths=(4,))
    monkeypatch.setattr(budgets, "BUDGETS", budgets.BUDGETS | {
        "table_group_bytes": Budget(100, "bytes", "a row group", raisable=True)})
    with pytest.raises(BagError, match=r"parquet: [\d,]+ bytes, at most 100 .*table_group"):
        LeRobotEpisode(path, 0, [VIDEO])


def test_datasets_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"of version v2.1; v3 is read: convert it"):
        LeRobotEpisode(dataset(tmp_path / "old", version="v2.1"), 0)
    path = dataset(tmp_path / "set")
    with pytest.raises(BagError, match=r"--episode 7: .* holds 2 episodes, 0 first"):
        LeRobotEpisode(path, 7)
    with pytest.raises(BagError, match=f"no images on topic top .*{VIDEO}"):
        LeRobotEpisode(path, 0, ["top"])
    video = path / f"videos/{VIDEO}/chunk-000/file-000.mp4"
    video.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(BagError, match=r"no video after 0 frames of episode 0.*git lfs pull"):
        list(LeRobotEpisode(path, 0, [VIDEO]).events(Window()))
    video.unlink()
    with pytest.raises(BagError, match="git lfs pull"):
        list(LeRobotEpisode(path, 0, [VIDEO]).events(Window()))
    (path / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1")
    with pytest.raises(BagError, match="no parquet table"):
        list(LeRobotEpisode(path, 0, [IMAGE]).events(Window()))


@pytest.mark.parametrize(("table", "change"), [
    ("data", lambda row: row | {IMAGE: {"bytes": None, "path": "frame.png"}}),
    ("data", lambda row: {name: row[name] for name in ("episode_index", "frame_index")}),
    ("data", lambda row: {"frame_index": row["frame_index"], IMAGE: row[IMAGE]}),
    ("meta/episodes", lambda row: {**row, "length": None}),
    ("meta/episodes", lambda row: {"length": row["length"]}),
])
def test_tables_that_are_not_as_version_3_lays_them_out(
    tmp_path: Path, table: str, change: Any
) -> None:
    path = dataset(tmp_path / "set")
    rewrite(path / table / "chunk-000/file-000.parquet", change)
    with pytest.raises(BagError, match=r"a table of .*set lacks what version 3 puts there"):
        list(LeRobotEpisode(path, 0, [IMAGE]).events(Window()))


def test_a_state_of_another_length_than_its_names(tmp_path: Path) -> None:
    path = dataset(tmp_path / "set")
    place = path / "meta/info.json"
    info = json.loads(place.read_text())
    info["features"][STATE] = {"dtype": "float32", "names": ["one", "two"]}
    place.write_text(json.dumps(info))
    rewrite(path / "data/chunk-000/file-000.parquet", lambda row: row | {STATE: [0.0, 0.1, 0.2]})
    with pytest.raises(BagError, match=r"holds 3 numbers, and meta/info.json names 2"):
        list(LeRobotEpisode(path, 0, [IMAGE], state=True).events(Window()))
