# SPDX-License-Identifier: Apache-2.0
"""What replay asks of a recording, whatever it was recorded with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import ConventionError, gripper_opening
from vla_infoentropy_ros.foreign.text import did_you_mean, shown
from vla_infoentropy_ros.replay.errors import BagError

RAW, COMPRESSED, INSTRUCTION, EPISODE_END = "raw", "compressed", "instruction", "episode_end"
JOINT_STATES, EE_POSE, TF, TF_STATIC = "joint_states", "ee_pose", "tf", "tf_static"
EVER_NS = 2**63 - 1


class Event(NamedTuple):
    """Something that reaches the policy at a time of recording.

    kind: one of the above. content: for images a message with the fields of sensor_msgs/Image or
    CompressedImage, for an instruction its text, for the robot's state one with the fields of
    sensor_msgs/JointState, geometry_msgs/PoseStamped or tf2_msgs/TFMessage. view: which of the
    chosen cameras, 0 first. ros_ns: what the node's clock said, 0 where it said time_ns.
    """

    time_ns: int
    kind: str
    content: Any = None
    view: int = 0
    ros_ns: int = 0


@dataclass(frozen=True)
class RecordedAction:
    """What the live node decided for the frame with this stamp. values: (7,), as the conventions
    say, increments of one control period. time_ns: of recording."""

    stamp_ns: int
    values: NDArray[np.float64]
    token_ids: tuple[int, ...]
    step: int
    gripper: str
    rotation: str
    frame: str
    control_period_s: float
    time_ns: int = 0

    def unfit(self) -> str:
        """Why it is no action, or ""."""
        try:
            gripper_opening(0.0, self.gripper)
        except ConventionError as error:
            return str(error)
        if self.values.shape != (7,):
            return f"it has {self.values.size} values, not 7"
        return "" if np.isfinite(self.values).all() else "its values are not finite"

    def unlike(self, convention: Any) -> str:
        """What of it is to be read otherwise than by a policy's `models.adapter.ActionConvention`,
        or ""; the gripper's is reckoned with."""
        told = [f"{name} is {shown(own)}, the policy's {shown(other)}" for name, own, other in (
            ("rotation_convention", self.rotation, convention.rotation),
            ("frame_convention", self.frame, convention.frame),
        ) if own != other]
        period_s = convention.control_period_s
        if not math.isclose(self.control_period_s, period_s, rel_tol=1e-6):
            told.append(f"control_period is {self.control_period_s:g} s, the policy's {period_s:g}")
        return ", ".join(told)


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

    def assign(self, views: int, names: Sequence[str]) -> None:
        """Put the cameras into the order of a policy's views. names: what its training called
        them, () where it does not say. Raises BagError where they are not as many, or their order
        cannot be told."""

    def events(self, window: Window) -> Iterator[Event]:
        """In order of recording. What was told before the window is told at its beginning."""

    def actions(self) -> list[RecordedAction]:
        """What the live policy node decided, where that was recorded; before `notes`."""

    def shortfalls(self) -> list[str]:
        """After all events and actions: a sentence for each part of which less came than was
        announced."""

    def close(self) -> None: ...


def choose(path: Path, found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The cameras wanted, else all there are. Raises BagError for one that is not there or that
    is wanted twice."""
    for name in wanted:
        if name not in found:
            hint = did_you_mean(name, found, most=1)
            raise BagError(f"no images on topic {name} in {path}: {hint + ' ' if hint else ''}"
                           f"Image topics: {', '.join(found)}")
    twice = [name for name, count in Counter(map(camera_of, wanted)).items() if count > 1]
    if twice:
        raise BagError(f"--image-topic names the camera {twice[0]} of {path} for several views "
                       f"({', '.join(wanted)}): give a camera of its own for each")
    return list(wanted) or list(found)


def camera_of(topic: str) -> str:
    """What a camera is called whose images come on ``topic``, raw or compressed."""
    return topic.removesuffix("/compressed")


def arranged(
    path: Path, cameras: Sequence[str], views: int, names: Sequence[str],
    short: Callable[[str], str],
) -> list[str]:
    """Those of the cameras, which nobody has named, that are a policy's views, in its order.

    names: of the views, () where nobody knows them. short: what of a camera's name is compared
    with them. Raises BagError where the number or the order cannot be told.
    """
    found = [[camera for camera in cameras if short(camera) == name] for name in names]
    if len(found) == views and all(len(fitting) == 1 for fitting in found):
        return [camera for (camera,) in found]
    check_number(cameras, views)
    if views > 1:
        named = f" ({', '.join(names)})" if names else ""
        raise BagError(f"which of the image topics of {path} is which of the policy's {views} "
                       f"views{named} their names do not say, {', '.join(cameras)}: give "
                       "--image-topic once per view, in the policy's order")
    return list(cameras)


def check_number(cameras: Sequence[str], views: int) -> None:
    """Raise BagError where there are not as many cameras as views."""
    if len(cameras) != views:
        times = "once" if views == 1 else f"{views} times, in the policy's order"
        raise BagError(f"the policy takes {views} view{'s' * (views > 1)}, but there are "
                       f"{len(cameras)} image topics: {', '.join(cameras)}. Give "
                       f"--image-topic {times}")


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
