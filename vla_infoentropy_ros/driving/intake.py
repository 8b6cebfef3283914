# SPDX-License-Identifier: Apache-2.0
"""Which image, stamp, frame and instruction may be used, and why not; each is counted."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.control.watchdog import StampGuard
from vla_infoentropy_ros.driving.arrivals import Arrivals
from vla_infoentropy_ros.driving.clock import Clock
from vla_infoentropy_ros.driving.images import ImageError, Picture
from vla_infoentropy_ros.driving.settings import NodeSettings
from vla_infoentropy_ros.foreign.budgets import within

VIEWS = ("image", "wrist_image", "third_image")
"""Topics of the cameras, in the order of a policy's views."""


@dataclass(frozen=True)
class Frame:
    """One observation on its way.

    pictures: one per view. stamp_ns: ROS time of the first. frame_id: of its camera. arrival_s:
    steady time. generation: of the episode it belongs to; a result of an older one must not move
    the robot. oldest_ns: ROS time of the oldest picture. state: the robot's when it arrived, (S,),
    for a policy that takes one.
    """

    pictures: tuple[Picture, ...]
    stamp_ns: int
    frame_id: str
    arrival_s: float
    generation: int
    oldest_ns: int
    state: NDArray[np.float64] | None = None

    def decode(self) -> Sequence[NDArray[np.uint8]]:
        """The images, (h, w, 3) uint8 RGB, one per view. Raises ImageError."""
        return [picture.rgb() for picture in self.pictures]


@dataclass
class InputCounters:
    """Since the policy was loaded."""

    frames_received: int = 0
    frames_dropped: int = 0
    frames_rejected: int = 0


class InputListener(Protocol):
    """Told, by the thread in which it happens, what was not used."""

    def rejected(self, what: str, reason: str) -> None:
        """what: topic of the camera."""
        ...

    def dropped(self, reason: str) -> None:
        """An image that tells nothing new, or that came late."""
        ...


class Intake:
    """Judges what comes, by rules that are the same for every skin.

    Nothing is decoded here: `image` and `further_image` look at sizes, names and stamps.
    """

    def __init__(self, clock: Clock, listener: InputListener) -> None:
        self.counters = InputCounters()
        self._clock, self._listener = clock, listener
        self._unfit = self._undecodable = ""
        self._lock = threading.RLock()
        self._guard = StampGuard()
        self._views, self._tolerance_s = 1, 0.0
        self._arrivals = {view: Arrivals() for view in VIEWS}
        self._further: dict[str, tuple[Picture, int]] = {}  # newest by topic, with its stamp

    def open(self, settings: NodeSettings, views: int) -> None:
        """A policy of so many views is loaded."""
        with self._lock:
            self.counters = InputCounters()
            self._unfit = self._undecodable = ""
            self._views, self._tolerance_s = views, settings.sync_tolerance_s
            self._arrivals = {view: Arrivals() for view in VIEWS}
            self._further = {}
            self._guard.reset()

    def begin(self) -> None:
        """Take any stamp next."""
        with self._lock:
            self._guard.reset()

    def clock_jumped(self) -> bool:
        """ROS time jumped backwards since the last call."""
        with self._lock:
            jumped = self._guard.clock_jumped(self._clock.now_ns())
            if jumped:
                self._guard.reset()
                self._further = {}
            return jumped

    @property
    def image_age_s(self) -> float:
        """ROS time since the newest usable image was taken; NaN before the first."""
        newest_ns = self._guard.newest_ns
        return math.nan if newest_ns is None else (self._clock.now_ns() - newest_ns) / 1e9

    @property
    def lost(self) -> dict[str, int]:
        """Frames that did not arrive since the policy was loaded, by view."""
        return {view: self._arrivals[view].lost for view in VIEWS[: self._views]}

    def image(
        self,
        picture: Picture,
        stamp_ns: int,
        frame_id: str,
        command: CommandSettings,
        generation: int,
    ) -> Frame | None:
        """The observation that an image of the first camera completes, or None."""
        arrival_s = self._clock.steady_s()
        with self._lock:
            self.counters.frames_received += 1
            self._arrivals["image"].saw(stamp_ns)
        try:
            _check(picture, frame_id)
            with self._lock:  # held for no call of the listener, who may wait for a log
                problem = self._stamp_problem(stamp_ns, command.max_clock_skew_s)
                pictures: tuple[Picture, ...] = ()
                oldest_ns = stamp_ns
                if not problem:
                    pictures, oldest_ns = self._complete(picture, stamp_ns)
        except ImageError as error:
            self.reject("image", str(error))
            return None
        if problem:
            self.drop()
            self._unfit = f"image dropped: {problem}"
            self._listener.dropped(problem)
            return None
        self._unfit = ""
        return Frame(pictures, stamp_ns, frame_id, arrival_s, generation, oldest_ns)

    def further_image(
        self, view: str, picture: Picture, stamp_ns: int, frame_id: str = ""
    ) -> None:
        """The newest image of a further camera, one of `VIEWS`; it waits for one of the first."""
        with self._lock:
            self._arrivals[view].saw(stamp_ns)
        try:
            _check(picture, frame_id)
        except ImageError as error:
            self.reject(view, str(error))
            return
        with self._lock:
            self._further[view] = picture, stamp_ns

    @property
    def unused(self) -> str:
        """Why the last image, or the last that was decoded, could not be used; empty if it was."""
        return self._unfit or self._undecodable

    def decoded(self, reason: str = "") -> None:
        """An image was decoded, or could not be for this reason."""
        self._undecodable = reason and f"image rejected: {reason}"
        if reason:
            self._count("image", reason)

    def reject(self, what: str, reason: str) -> None:
        """Count and say that an image cannot be used."""
        self._unfit = f"{what} rejected: {reason}"
        self._count(what, reason)

    def _count(self, what: str, reason: str) -> None:
        with self._lock:
            self.counters.frames_rejected += 1
        self._listener.rejected(what, reason)

    def drop(self) -> None:
        """Count an image that another took the place of."""
        with self._lock:
            self.counters.frames_dropped += 1

    def _stamp_problem(self, stamp_ns: int, skew_s: float) -> str:
        """Why an image is to be dropped, or "". Raises ImageError for one to be rejected."""
        verdict = self._guard.check(stamp_ns, self._clock.now_ns(), skew_s)
        if verdict.counted_as == "rejected":
            raise ImageError(verdict.reason)
        return verdict.reason

    def _complete(self, picture: Picture, stamp_ns: int) -> tuple[tuple[Picture, ...], int]:
        """The pictures that make one observation, and when the oldest was taken."""
        pictures, oldest_ns = [picture], stamp_ns
        for view in VIEWS[1 : self._views]:
            if view not in self._further:
                raise ImageError(
                    f"the policy looks through {self._views} cameras, but no {view} has arrived"
                )
            further, taken_ns = self._further[view]
            apart_s = abs(stamp_ns - taken_ns) / 1e9
            if apart_s > self._tolerance_s:
                raise ImageError(
                    f"the newest {view} is {apart_s:.3f} s apart from it "
                    f"(sync_tolerance_s={self._tolerance_s})"
                )
            pictures.append(further)
            oldest_ns = min(oldest_ns, taken_ns)
        return tuple(pictures), oldest_ns


def _check(picture: Picture, frame_id: str) -> None:
    within("name_characters", len(frame_id), "frame_id", ImageError)
    picture.check()
