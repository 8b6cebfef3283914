# SPDX-License-Identifier: Apache-2.0
"""A folder of JPEG and PNG files as a recording: in the order of their names, at one rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.files import read_bytes
from vla_infoentropy_ros.foreign.pictures import SUFFIXES, pictures_in
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.replay.errors import BagError, counted
from vla_infoentropy_ros.replay.recording import (
    COMPRESSED,
    Event,
    RecordedAction,
    Window,
    check_number,
    compressed_image,
)


def recorded_in(path: Path) -> list[Path]:
    """The pictures of a folder, none where a bag lies there, which may hold some beside it."""
    return [] if (path / "metadata.yaml").exists() else pictures_in(path)


def _passed_over(path: Path) -> list[str]:
    """A note on what else lies there: a camera's frames may be in a format that is not read."""
    others = sorted(p.name for p in path.iterdir()
                    if p.suffix.lower() not in SUFFIXES and not p.name.startswith("."))
    if not others:
        return []
    return [f"{counted(len(others), 'file')} in {path} that are neither JPEG nor PNG by their "
            f"names were passed over, as {shown(others[0])}"]


class PictureFolder:
    """One camera; the first picture is taken one period after the second 0. rate_hz: of the
    camera. Raises BagError for a rate that is none."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        if not 0.001 <= rate_hz <= 1000.0:
            raise BagError(f"--rate {rate_hz:g}: must be 0.001 .. 1000 Hz")
        self.path, self.notes = path, _passed_over(path)
        self.cameras: Sequence[str] = (path.name,)
        self._pictures = recorded_in(path)
        self.images = len(self._pictures)
        self._period_ns = round(1e9 / rate_hz)

    def assign(self, views: int, names: Sequence[str]) -> None:
        check_number(self.cameras, views)

    def events(self, window: Window) -> Iterator[Event]:
        for number, picture in enumerate(self._pictures):
            if window.start_ns <= number * self._period_ns < window.end_ns:
                taken_ns = (number + 1) * self._period_ns
                data = read_bytes(picture, "picture_packed_bytes", BagError)
                form = SUFFIXES[picture.suffix.lower()]
                yield Event(taken_ns, COMPRESSED, compressed_image(taken_ns, "", form, data))

    def actions(self) -> list[RecordedAction]:
        return []

    def shortfalls(self) -> list[str]:
        return []

    def close(self) -> None: ...
