# SPDX-License-Identifier: Apache-2.0
"""An episode of a LeRobot dataset, version 3, as a recording: tables in parquet, pictures in mp4.

Layout as LeRobot writes it: meta/info.json names features, rate and places; meta/episodes holds a
row for each episode with its task, its length and where in which video file it begins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.extras import missing
from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.files import open_regular, read_json
from vla_infoentropy_ros.foreign.text import one_line, shown
from vla_infoentropy_ros.models.lerobot.features import short_name
from vla_infoentropy_ros.replay.errors import BagError, counted
from vla_infoentropy_ros.replay.recording import (
    COMPRESSED,
    INSTRUCTION,
    JOINT_STATES,
    RAW,
    Event,
    RecordedAction,
    Window,
    arranged,
    check_number,
    choose,
    compressed_image,
    joint_states,
    raw_image,
)

try:
    import av
    import pyarrow
    import pyarrow.parquet as parquet
except ModuleNotFoundError as error:
    raise BagError(f"a LeRobot dataset: {missing(error)}") from error

_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
STATE = "observation.state"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


class LeRobotEpisode:
    """Episode ``number``; its frames are stamped from one period on. cameras: image features.
    state: whether its observation.state comes too, as joints by the names that meta/info.json has.

    Raises BagError for a dataset of another version, without cameras or without that episode.
    """

    def __init__(
        self, path: Path, number: int, cameras: Sequence[str] = (), state: bool = False
    ) -> None:
        self.path, self.notes, self._number = path, list[str](), number
        info = read_json(path / "meta" / "info.json", BagError)
        version = str(info.get("codebase_version", "none")) if isinstance(info, dict) else "none"
        if not version.startswith("v3."):
            raise BagError(f"{path} is a LeRobot dataset of version {version}; v3 is read: convert "
                           "it with LeRobot's convert_dataset_v21_to_v30")
        try:
            self._fps = float(info["fps"])
            self._kinds = {str(name): str(feature["dtype"])
                           for name, feature in info["features"].items()
                           if feature["dtype"] in ("image", "video")}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BagError(f"{path}/meta/info.json lacks fps or features: copy the dataset "
                           "again") from error
        if not self._kinds or not 0.001 <= self._fps <= 1000.0:
            raise BagError(f"{path} has no features of dtype image or video, or no sane fps "
                           f"({self._fps:g})")
        self._joints = _state_names(path, info["features"].get(STATE)) if state else []
        self.cameras: Sequence[str] = choose(path, sorted(self._kinds), cameras)
        self._named = bool(cameras)
        with self._explained():
            self._episode = self._row()
            self.images = int(self._episode["length"])
            self._tasks = [str(task) for task in self._episode.get("tasks") or ()]
        if len(self._tasks) > 1:
            self.notes.append(f"episode {number} has {len(self._tasks)} tasks, of which the first "
                              f"is its instruction, {shown(self._tasks[0])}; --instruction gives "
                              "another")
        self._delivered: Counter[str] = Counter()
        self._whole = False

    def assign(self, views: int, names: Sequence[str]) -> None:
        """By the names that training had for them."""
        if self._named:
            check_number(self.cameras, views)
            return
        self.cameras = arranged(self.path, self.cameras, views, [*map(short_name, names)],
                                short_name)

    def _row(self) -> Mapping[str, Any]:
        """Of the episode, from meta/episodes."""
        files = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        known = 0
        for file in files:
            for row in self._rows(file):
                known += 1
                if row["episode_index"] == self._number:
                    return row
        raise BagError(f"--episode {self._number}: {self.path} holds {counted(known, 'episode')}, "
                       "0 first")

    def _rows(self, file: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        try:
            with open_regular(file, error=BagError) as source:
                table = parquet.ParquetFile(source)
                for group in range(table.num_row_groups):
                    size = table.metadata.row_group(group).total_byte_size
                    within("table_group_bytes", size, file, BagError)
                for batch in table.iter_batches(batch_size=64, columns=columns):
                    yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise BagError(f"{file} is missing or no parquet table: fetch it with `git lfs pull`, "
                           "or copy it again") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A table without what version 3 puts into it, as one sentence."""
        try:
            yield
        except BagError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BagError(
                f"a table of {self.path} lacks what version 3 puts there, or holds something else "
                f"({type(error).__name__}: {one_line(error)}): write the dataset again with LeRobot"
            ) from error

    def events(self, window: Window) -> Iterator[Event]:
        with self._explained():
            yield from self._events(window)

    def _events(self, window: Window) -> Iterator[Event]:
        self._whole = window.whole
        period_ns = round(1e9 / self._fps)
        if self._tasks:
            yield Event(window.start_ns + period_ns, INSTRUCTION, self._tasks[0])
        streams = [self._pictures(camera) for camera in self.cameras]
        # The first camera comes last: it is what begins a step.
        order = [*range(1, len(streams)), 0]
        states = self._states() if self._joints else iter(())
        for index in range(self.images):
            taken_ns = (index + 1) * period_ns
            state = next(states, None)
            self._delivered[STATE] += state is not None
            if state is not None and window.start_ns <= index * period_ns < window.end_ns:
                message = joint_states(taken_ns, self._joints, state)
                yield Event(taken_ns, JOINT_STATES, message)
            for view in order:
                content = next(streams[view], None)
                if content is None:  # lost: no other is replayed in its place
                    continue
                self._delivered[self.cameras[view]] += 1
                if window.start_ns <= index * period_ns < window.end_ns:
                    yield self._event(taken_ns, view, content)
            if index * period_ns >= window.end_ns:
                return

    def _event(self, taken_ns: int, view: int, content: bytes | NDArray[np.uint8]) -> Event:
        camera = self.cameras[view]
        if isinstance(content, bytes):
            form = "png" if content.startswith(b"\x89PNG") else "jpeg"
            return Event(taken_ns, COMPRESSED, compressed_image(taken_ns, camera, form, content),
                         view)
        return Event(taken_ns, RAW, raw_image(taken_ns, camera, content), view)

    def _pictures(self, camera: str) -> Iterator[bytes | NDArray[np.uint8] | None]:
        """One for each frame of the episode, None for one that is lost."""
        if self._kinds[camera] == "image":
            return self._from_table(camera)
        return self._from_video(camera)

    def _states(self) -> Iterator[list[float]]:
        file = self._place(_DATA, "data")
        for row in self._rows(file, ["episode_index", STATE]):
            if row["episode_index"] != self._number:
                continue
            state = [float(value) for value in row[STATE]]
            if len(state) != len(self._joints):
                raise BagError(f"{file}: {STATE} holds {len(state)} numbers, and meta/info.json "
                               f"names {len(self._joints)}: copy the dataset again")
            yield state

    def _from_table(self, camera: str) -> Iterator[bytes]:
        file = self._place(_DATA, "data")
        for row in self._rows(file, ["episode_index", camera]):
            if row["episode_index"] == self._number:
                yield bytes(row[camera]["bytes"])

    def _from_video(self, camera: str) -> Iterator[NDArray[np.uint8] | None]:
        """Frames of the episode, which is a stretch of a file of many, each at its own time."""
        file = self._place(_VIDEO, f"videos/{camera}", video_key=camera)
        begins_s = float(self._episode[f"videos/{camera}/from_timestamp"])
        half_s = 0.5 / self._fps
        given = found = 0
        try:
            with open_regular(file, error=BagError) as source, av.open(source, "r") as container:
                stream = container.streams.video[0]
                assert stream.time_base is not None
                within("picture_bytes", 3 * stream.width * stream.height, file, BagError)
                container.seek(int(begins_s / stream.time_base), stream=stream, backward=True)
                for frame in container.decode(stream):
                    if frame.time is None or frame.time < begins_s - half_s:
                        continue
                    index = math.floor((frame.time - begins_s) * self._fps + 0.5)
                    if index >= self.images:
                        return
                    if index < given:  # a second one of the same moment
                        continue
                    yield from repeat(None, index - given)
                    given, found = index + 1, found + 1
                    yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        except (av.FFmpegError, OSError, IndexError) as error:
            raise BagError(f"{file} is missing or no video after {found} frames of "
                           f"episode {self._number}: fetch it with `git lfs pull`, or copy it "
                           "again") from error

    def _place(self, template: str, prefix: str, **names: str) -> Path:
        try:
            numbers = {name: int(self._episode[f"{prefix}/{name}"])
                       for name in ("chunk_index", "file_index")}
        except (KeyError, TypeError, ValueError) as error:
            raise BagError(f"meta/episodes of {self.path} does not say where {prefix} of episode "
                           f"{self._number} lies: copy the dataset again") from error
        place = self.path / template.format(**numbers, **names)
        if not place.resolve().is_relative_to(self.path.resolve()):
            raise BagError(f"{prefix} of {self.path} leads out of the dataset")
        return place

    def actions(self) -> list[RecordedAction]:
        """What was recorded are a person's actions, not a policy's tokens."""
        return []

    def shortfalls(self) -> list[str]:
        if not self._whole:
            return []
        told = [*self.cameras, *[STATE] * bool(self._joints)]
        return [f"{name}: {counted(self.images, 'frame')} announced, {found} delivered; copy the "
                "dataset again, or write it again with LeRobot"
                for name in told if (found := self._delivered[name]) != self.images]

    def close(self) -> None: ...


def _state_names(path: Path, feature: Any) -> list[str]:
    """What the numbers of a state are called: a list, or lists by kind."""
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):
        names = [name for part in names.values() if isinstance(part, list) for name in part]
    if not isinstance(names, list) or not names:
        raise BagError(f"{path}/meta/info.json has no {STATE} with names, which --state-source "
                       "needs; record the dataset with its state")
    return [str(name) for name in names]
