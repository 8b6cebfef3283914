# SPDX-License-Identifier: Apache-2.0
"""What the node's clock said when something was recorded: the recorder's time, or a simulator's,
which only the stamps tell, and which begins anew where the simulator does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vla_infoentropy_ros.replay.errors import counted, moment
from vla_infoentropy_ros.replay.recording import COMPRESSED, EE_POSE, JOINT_STATES, RAW, Event
from vla_infoentropy_ros.replay.types import stamp_ns

FAR_NS = 60 * 10**9  # no camera is so late
BACK_NS = 10**9  # nor do messages of one robot overtake each other by so much
_MOST_HELD = 10_000  # events, until it is known whether they belong to a new run
_IMAGES = (RAW, COMPRESSED)
_STAMPED = (*_IMAGES, JOINT_STATES, EE_POSE)


class RosTime:
    """Puts ROS time into events, as `of` gives them on.

    It is that of recording, until stamps lie far from it, or step back while it goes on: then it
    is the newest stamp so far. Where the next image of the first camera is older than the newest
    as well, a run begins and ROS time steps back with it; one image by itself is only late.
    """

    def __init__(self) -> None:
        self._stamped = False  # ROS time goes by stamps
        self._now_ns = self._set_ns = 0  # ROS time, where it does, and when of recording
        self._newest_ns = 0  # stamp of the first camera, in this run
        self._held: list[Event] = []
        self._far_ns = 0
        self._restarts: list[int] = []

    def notes(self, camera: str) -> list[str]:
        """camera: name of the first."""
        told = []
        if self._far_ns:
            told.append(f"the stamps of {camera} lie {self._far_ns / 1e9:.0f} s from the time of "
                        "recording, as where use_sim_time is set: ages are reckoned from stamps "
                        "alone; if it is not set, set the clock of the camera's computer")
        if self._restarts:
            told.append(f"the stamps of {camera} stepped back while recording went on, "
                        f"{counted(len(self._restarts), 'time')}, at {moment(self._restarts[0])} "
                        "of recording first, as where a simulator starts again: a new episode "
                        "was begun each time; --start and --end choose one run")
        return told

    def of(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events in the same order."""
        yield from self._first(events)
        for event in events:
            if self._held:
                self._held.append(event)
                if _first_stamp(event) or len(self._held) >= _MOST_HELD:
                    yield from self._judged(event)
            elif self._is_back(event):
                self._held = [event]
            else:
                yield self._timed(event)
        yield from self._released()

    def _first(self, events: Iterator[Event]) -> Iterator[Event]:
        """Until the first image says how far its stamp is from the time of recording."""
        for event in events:
            self._held.append(event)
            taken_ns = _first_stamp(event)
            if taken_ns and abs(event.time_ns - taken_ns) > FAR_NS:
                self._stamped, self._now_ns, self._set_ns = True, taken_ns, event.time_ns
                self._far_ns = abs(event.time_ns - taken_ns)
            if taken_ns or len(self._held) >= _MOST_HELD:
                break
        yield from self._released()

    def _judged(self, image: Event) -> Iterator[Event]:
        """What was held, and whether a run begins with it."""
        if 0 < _first_stamp(image) < self._newest_ns:
            self._stamped, self._now_ns, self._newest_ns = True, 0, 0
            self._restarts.append(self._held[0].time_ns)
        yield from self._released()

    def _released(self) -> Iterator[Event]:
        held, self._held = self._held, []
        for event in held:
            yield self._timed(event)

    def _is_back(self, event: Event) -> bool:
        return 0 < _stamp(event) < self._newest_ns - BACK_NS

    def _timed(self, event: Event) -> Event:
        if self._is_of_this_clock(event):
            self._newest_ns = max(self._newest_ns, _first_stamp(event))
            if self._stamped and _stamp(event) > self._now_ns:
                self._now_ns, self._set_ns = _stamp(event), event.time_ns
        return event._replace(ros_ns=self._now_ns) if self._stamped else event

    def _is_of_this_clock(self, event: Event) -> bool:
        """Not far ahead of ROS time, as one message that a broken clock stamped."""
        begins = self._stamped and not self._now_ns
        now_ns = self._now_ns - self._set_ns + event.time_ns if self._stamped else event.time_ns
        return begins or _stamp(event) - now_ns < FAR_NS


def _stamp(event: Event) -> int:
    """ROS time, ns; 0 where it has none that says when it was sent, as transforms that hold for
    ever."""
    message: Any = event.content
    return stamp_ns(message.header.stamp) if event.kind in _STAMPED else 0


def _first_stamp(event: Event) -> int:
    """Of an image of the first camera, else 0."""
    return _stamp(event) if event.kind in _IMAGES and not event.view else 0
