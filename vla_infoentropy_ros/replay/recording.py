# SPDX-License-Identifier: Apache-2.0
"""What replay asks of a recording, whatever it was recorded with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.replay.errors import BagError

RAW, COMPRESSED, INSTRUCTION, EPISODE_END = "raw", "compressed", "instruction", "episode_end"
JOINT_STATES, EE_POSE, TF, TF_STATIC = "joint_states", "ee_pose", "tf", "tf_static"
EVER_NS = 2**63 - 1


class Event(NamedTuple):
    """Something that reaches the policy at a time of recording.

    kind: one of the above. content: for images a message with the fields of sensor_msgs/Image or
    CompressedImage, for an instruction its text, for the robot's state one with the fields of
    sensor_msgs/JointState, geometry_msgs/PoseStamped or tf2_msgs/TFMessage. view: which of the
    chosen cameras, 0 first.
    """

    time_ns: int
    kind: str
    content: Any = None
    view: int = 0


@dataclass(frozen=True)
class RecordedAction:
    """What the live node decided for the frame with this stamp. values: (7,), robot units."""

    stamp_ns: int
    values: NDArray[np.float64]
    token_ids: tuple[int, ...]
    step: int


@dataclass(frozen=True)
class Window:
    """The part to replay: nanoseconds after the beginning, begin included and end not."""

    start_ns: int = 0
    end_ns: int = EVER_NS

    def __post_init__(self) -> None:
        if not 0 <= self.start_ns < self.end_ns:
            raise BagError(f"--start {self.start_ns / 1e9:g} --end {self.end_ns / 1e9:g}: the "
                           "start must be 0 s or later, and before the end")

    @property
    def whole(self) -> bool:
        return self == Window()


class Recording(Protocol):
    """A recording with its cameras chosen. notes: what was done to read it, for the user. images:
    how many of the first camera are announced."""

    path: Path
    cameras: Sequence[str]
    notes: list[str]
    images: int

    def events(self, window: Window) -> Iterator[Event]:
        """In order of recording. What was told before the window is told at its beginning."""

    def actions(self) -> list[RecordedAction]:
        """What the live policy node decided, where that was recorded."""

    def shortfalls(self) -> list[str]:
        """After all events: a sentence for each part of which less came than was announced."""

    def close(self) -> None: ...


def choose(path: Path, found: Sequence[str], wanted: Sequence[str], views: int | None) -> list[str]:
    """The cameras to feed to a policy of so many views: those wanted, else all there are.

    views None: the number is not known yet and not checked. Raises BagError for a choice that is
    none.
    """
    for name in wanted:
        if name not in found:
            hint = did_you_mean(name, found, most=1)
            raise BagError(f"no images on topic {name} in {path}: {hint + ' ' if hint else ''}"
                           f"Image topics: {', '.join(found)}")
    chosen = list(wanted) or list(found)
    if views is not None and len(chosen) != views:
        times = "once" if views == 1 else f"{views} times"
        raise BagError(f"the policy takes {views} view{'s' * (views > 1)}, but there are "
                       f"{len(chosen)} image topics: {', '.join(chosen)}. Give "
                       f"--image-topic {times}")
    return chosen


def _header(taken_ns: int, frame_id: str) -> Any:
    stamp = SimpleNamespace(sec=taken_ns // 10**9, nanosec=taken_ns % 10**9)
    return SimpleNamespace(stamp=stamp, frame_id=frame_id)


def joint_states(taken_ns: int, names: Sequence[str], positions: Sequence[float]) -> Any:
    """What sensor_msgs/JointState holds, of a recording that has no messages."""
    return SimpleNamespace(header=_header(taken_ns, ""), name=list(names), position=list(positions))


def compressed_image(taken_ns: int, frame_id: str, form: str, data: bytes) -> Any:
    """What sensor_msgs/CompressedImage holds, of a recording that has no messages."""
    return SimpleNamespace(header=_header(taken_ns, frame_id), format=form, data=data)


def raw_image(taken_ns: int, frame_id: str, rgb: NDArray[np.uint8]) -> Any:
    """What sensor_msgs/Image holds; rgb: (h, w, 3)."""
    height, width = rgb.shape[:2]
    return SimpleNamespace(header=_header(taken_ns, frame_id), height=height, width=width,
                           encoding="rgb8", step=3 * width, data=np.ascontiguousarray(rgb).ravel())
