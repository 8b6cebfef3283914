# SPDX-License-Identifier: Apache-2.0
"""Where hand and objects are in a running Gazebo, by what ``gz topic`` prints of their poses."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vla_infoentropy_ros.sim.expert import TabletopState
from vla_infoentropy_ros.sim.tasks import Layout

TOPIC = "/world/tabletop/dynamic_pose/info"
_FINGER_HALF = 0.006  # m, from a finger's middle to its inner face
_SHORTEST_S = 0.1  # of a movement: a twitch is none


def gz() -> str:
    """Gazebo's command. Raises FileNotFoundError where there is none."""
    found = shutil.which("gz")
    if found is None:
        raise FileNotFoundError("no gz on the PATH: install Gazebo, or source where it is")
    return found


def release() -> str:
    """Of the simulator, as it says itself: 6 is Fortress, 8 Harmonic."""
    told = subprocess.run(  # noqa: S603 - our own command line
        [gz(), "sim", "--versions"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


@dataclass(frozen=True)
class Poses:
    """time_s: simulated. heard_s: monotonic. places: name to position (3,) m; turns: name to yaw,
    rad. Models are placed in the world, links in their model."""

    time_s: float
    heard_s: float
    places: Mapping[str, tuple[float, ...]]
    turns: Mapping[str, float]

    @property
    def hand(self) -> np.ndarray:
        """(3,) m, the grasp centre in the base frame: the gantry's model stands there."""
        return np.array(self.places["hand"])

    def state(self, layout: Layout) -> TabletopState:
        """As the embedded simulator tells it; plates do not move."""
        left, right = (np.array(self.places[f"finger_{side}_link"]) for side in ("left", "right"))
        return TabletopState(
            hand=self.hand,
            gap=float(np.linalg.norm(left - right)) / 2.0 - _FINGER_HALF,
            cubes={colour: np.array(self.places[f"cube_{colour}"]) for colour in layout.cubes},
            plates=layout.plates,
            yaw=self.turns["hand"],
        )


def parse(lines: Iterable[str]) -> Iterator[Poses]:
    """Messages ``Pose_V`` in protobuf's text format, in which what is zero is left out; an empty
    line ends each."""
    path: list[str] = []
    fields: dict[str, str] = {}
    stamp: dict[str, str] = {}
    poses: dict[str, dict[str, str]] = {}
    for line in map(str.strip, lines):
        if line.endswith("{"):
            path.append(line[:-1].strip())
            fields = {} if path == ["pose"] else fields
        elif line == "}":
            if path == ["pose"]:
                poses[fields.get("name", "").strip('"')] = fields
            path.pop()
        elif ":" in line:
            name, value = (part.strip() for part in line.split(":", 1))
            (stamp if path == ["header", "stamp"] else fields)[".".join((*path[1:], name))] = value
        elif not line and poses:
            yield _made(stamp, poses)
            stamp, poses = {}, {}


def _made(stamp: Mapping[str, str], poses: Mapping[str, Mapping[str, str]]) -> Poses:
    def number(of: Mapping[str, str], name: str) -> float:
        return float(of.get(name, 0.0))

    time_s = number(stamp, "stamp.sec") + number(stamp, "stamp.nsec") / 1e9
    places = {
        name: tuple(number(of, f"position.{axis}") for axis in "xyz") for name, of in poses.items()
    }
    turns = {
        name: 2.0 * math.atan2(number(of, "orientation.z"), number(of, "orientation.w"))
        for name, of in poses.items()
    }
    return Poses(time_s, time.monotonic(), places, turns)


class GazeboTruth:
    """Listens in a thread; use it as a context manager. poses: all that were heard, in order.

    environment: of the ``gz`` command, with the partition of the Gazebo that is meant.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.poses: list[Poses] = []
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            [gz(), "topic", "-e", "-t", TOPIC], env=dict(environment), stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> GazeboTruth:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self.poses.extend(parse(stream))

    @property
    def now(self) -> Poses | None:
        """The newest; None before the first."""
        return self.poses[-1] if self.poses else None

    @property
    def speed(self) -> float:
        """Of the hand now, m/s of simulated time."""
        return _speed(self.poses[-600:])


def _speed(poses: list[Poses]) -> float:
    """Over the shortest way back from the end that is long enough."""
    for before in reversed(poses):
        passed_s = poses[-1].time_s - before.time_s
        if passed_s >= _SHORTEST_S:
            return float(np.linalg.norm(poses[-1].hand - before.hand)) / passed_s
    return 0.0


def stopped_s(poses: Iterable[Poses], from_s: float, still: float = 1e-3) -> tuple[float, float]:
    """After ``from_s`` (monotonic): until the hand stays within ``still`` m of where it stands in
    the end; in simulated seconds, and how far it went in these, m.

    Raises ValueError where nothing was heard after it.
    """
    after = [each for each in poses if each.heard_s >= from_s]
    if not after:
        raise ValueError("nothing was heard after that")
    end = after[-1].hand
    there = len(after) - 1
    while there and float(np.linalg.norm(after[there - 1].hand - end)) <= still:
        there -= 1
    return after[there].time_s - after[0].time_s, float(np.linalg.norm(after[0].hand - end))
