# SPDX-License-Identifier: Apache-2.0
"""ROS time of what was recorded: the recorder's, or that of the stamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vla_infoentropy_ros.replay.recording import (
    INSTRUCTION,
    JOINT_STATES,
    RAW,
    Event,
    joint_states,
    raw_image,
)
from vla_infoentropy_ros.replay.ros_time import RosTime

LATER_S = 1_700_000_000
GREY = np.zeros((2, 2, 3), np.uint8)


def image(time_s: float, stamp_s: float) -> Event:
    return Event(round(time_s * 1e9), RAW, raw_image(round(stamp_s * 1e9), "camera", GREY))


def state(time_s: float, stamp_s: float) -> Event:
    message = joint_states(round(stamp_s * 1e9), ["one"], [0.0])
    return Event(round(time_s * 1e9), JOINT_STATES, message)


def timed(events: Sequence[Event]) -> tuple[list[float], list[str]]:
    """ROS time of each event, s, and the notes."""
    time = RosTime()
    found = list(time.of(iter(events)))
    assert [event._replace(ros_ns=0) for event in found] == list(events)
    return [(event.ros_ns or event.time_ns) / 1e9 for event in found], time.notes("/image")


@pytest.mark.parametrize("stamps", [
    [1, 1.2, 1.4, 1.6], [1, 3, 1.4, 3.2], [1, 5, 5, 0.5], [1, 1.2, 0, 100], [1, 30, 2, 31],
    [1, 9 * 10**8, 3, 4],
])
def test_it_is_the_recorder_s_where_stamps_are_near(stamps: list[float]) -> None:
    events = [image(1 + place, stamp) for place, stamp in enumerate(stamps)]
    assert timed(events) == ([1, 2, 3, 4], [])


def test_it_goes_by_stamps_where_they_lie_far_from_recording() -> None:
    events = [Event(LATER_S * 10**9, INSTRUCTION, "red"), state(LATER_S, 4.9),
              image(LATER_S + 1, 5), state(LATER_S + 2, 5.4), image(LATER_S + 3, 5.2),
              image(LATER_S + 4, 5.6)]
    found, (note,) = timed(events)
    assert found == [5, 5, 5, 5.4, 5.4, 5.6]
    assert note.startswith("the stamps of /image lie 1699999996 s from the time of recording")


@pytest.mark.parametrize("later_s", [0, LATER_S])
def test_it_steps_back_where_a_run_begins(later_s: float) -> None:
    runs = [[(image, 10), (image, 11)], [(state, 1), (image, 1.2), (image, 1.4)],
            [(image, 0.2), (image, 0.4)]]
    flat = [each for run in runs for each in run]
    events = [make(later_s + 10 + place, stamp) for place, (make, stamp) in enumerate(flat)]
    found, notes = timed(events)
    assert found == [10, 11, 1, 1.2, 1.4, 0.2, 0.4]
    assert notes[-1].startswith("the stamps of /image stepped back while recording went on, 2 time")
    assert f"at {later_s + 12}.000 s of recording first" in notes[-1]
    assert len(notes) == 1 + (later_s > 0)
