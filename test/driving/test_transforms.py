# SPDX-License-Identifier: Apache-2.0
"""The pose of the tip from TF: the way up, its age, and why there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.robot_state import RobotState
from vla_infoentropy_ros.driving.transforms import Transform, TransformError, Transforms

NOW_NS = 100_000_000_000
LEFT = (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4))
"""A quarter turn to the left."""
STRAIGHT = (1.0, 0.0, 0.0, 0.0)
SETTINGS = CommandSettings(
    pose_source="tf", base_frame="base", tool_frame="tip", limit_workspace=True
)


def step(parent: str, turn=STRAIGHT, place=(0.0, 0.0, 0.0), stamp_ns=NOW_NS, arrival_s=0.0,
         static=False):
    return Transform(parent, turn, np.array(place), stamp_ns, arrival_s, static)


def arm() -> Transforms:
    """base, turned to the left at link, and 0.5 m along its x the tip, which is fixed to it."""
    transforms = Transforms()
    transforms.hear("tip", step("link", place=(0.5, 0.0, 0.0), static=True))
    transforms.hear("link", step("base", LEFT, (1.0, 0.0, 0.2)))
    return transforms


def state(clock: SetClock) -> RobotState:
    robot = RobotState(clock, SETTINGS)
    robot.transforms = arm()
    return robot


def test_turns_and_lengths_add_up_along_the_way() -> None:
    place = arm().find("base", "tip")
    np.testing.assert_allclose(place.position, [1.0, 0.5, 0.2], atol=1e-12)
    np.testing.assert_allclose(place.rotation, LEFT, atol=1e-12)
    assert arm().find("tip", "tip").rotation == STRAIGHT


def test_a_place_is_as_old_as_its_oldest_part_that_may_change() -> None:
    transforms = arm()
    transforms.hear("base", step("world", stamp_ns=NOW_NS + 5, arrival_s=3.0))
    place = transforms.find("world", "tip")
    assert (place.stamp_ns, place.arrival_s) == (NOW_NS, 0.0)
    transforms.hear("link", step("base", stamp_ns=NOW_NS + 9, arrival_s=4.0))
    place = transforms.find("world", "tip")
    assert (place.stamp_ns, place.arrival_s) == (NOW_NS + 5, 3.0)


def test_what_is_older_or_repeated_is_no_news() -> None:
    transforms = arm()
    for stamp_ns in (NOW_NS, NOW_NS - 1):
        transforms.hear("link", step("base", STRAIGHT, stamp_ns=stamp_ns, arrival_s=9.0))
    assert transforms.find("base", "tip").arrival_s == 0.0


@pytest.mark.parametrize(
    ("base", "tip", "reason"),
    [
        ("base", "finger", "no way from 'finger' up to 'base': it ends at 'finger'"),
        ("world", "tip", "it ends at 'base'"),
        ("tip", "base", "it ends at 'base'"),
    ],
)
def test_a_way_that_is_missing_names_where_it_ends(base, tip, reason) -> None:
    with pytest.raises(TransformError, match=reason):
        arm().find(base, tip)


def test_a_circle_is_no_way() -> None:
    transforms = arm()
    transforms.hear("base", step("tip"))
    with pytest.raises(TransformError, match="circles"):
        transforms.find("world", "tip")


def test_the_pose_comes_from_tf() -> None:
    pose = state(SetClock(NOW_NS)).pose(0.5)
    assert not isinstance(pose, Fault)
    np.testing.assert_allclose(pose.position, [1.0, 0.5, 0.2], atol=1e-12)


def test_old_transforms_are_a_fault_that_names_the_frames() -> None:
    clock = SetClock(NOW_NS)
    robot = state(clock)
    clock.pass_s(0.6)
    fault = robot.pose(0.5)
    assert isinstance(fault, Fault) and fault.code == "stale_state"
    assert "the transform from base to tip in TF is 0.60 s old" in fault.reason
    assert robot.last_pose is not None, "to stop by"


def test_transforms_that_arrived_long_ago_are_old_where_their_clock_stands() -> None:
    clock = SetClock(NOW_NS)
    robot = state(clock)
    clock.pass_s(0.6)
    robot.transforms.hear("link", step("base", LEFT, stamp_ns=NOW_NS + 600_000_000))
    assert isinstance(robot.pose(0.5), Fault), "it arrived at the beginning"


def test_a_moving_transform_without_a_stamp_is_as_old_as_its_arrival() -> None:
    clock = SetClock(NOW_NS)
    robot = state(clock)
    robot.transforms.hear("link", step("base", LEFT, stamp_ns=0, arrival_s=clock.steady_s()))
    assert not isinstance(robot.pose(0.5), Fault)
    clock.pass_s(0.6)
    fault = robot.pose(0.5)
    assert isinstance(fault, Fault) and "is 0.60 s old" in fault.reason
    robot.clock_jumped()
    assert robot.transforms.find("link", "tip"), "what is fixed still holds"
    with pytest.raises(TransformError):
        robot.transforms.find("base", "tip")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"turn": (2.0, 0.0, 0.0, 0.0)}, "no pose"),
        ({"place": (math.nan, 0.0, 0.0)}, "no pose"),
        ({"stamp_ns": NOW_NS + 10_000_000_000}, "cannot be used"),
    ],
)
def test_a_transform_that_cannot_be_is_a_fault(changed, reason) -> None:
    robot = RobotState(SetClock(NOW_NS), SETTINGS)
    robot.transforms.hear("tip", step("base", **changed))
    fault = robot.pose(0.5)
    assert isinstance(fault, Fault) and reason in fault.reason and "in TF" in fault.reason


def test_a_stamp_of_the_future_makes_later_ones_not_stale() -> None:
    robot = RobotState(SetClock(NOW_NS), SETTINGS)
    robot.hear_transform("tip", step("base", stamp_ns=NOW_NS + 3_600_000_000_000))
    fault = robot.pose(0.5)
    assert isinstance(fault, Fault) and "3600.000 s ahead of this node's clock" in fault.reason
    robot.hear_transform("tip", step("base", stamp_ns=NOW_NS))
    assert not isinstance(robot.pose(0.5), Fault)
    robot.hear_transform("tip", step("base", place=(9.0, 0.0, 0.0), stamp_ns=NOW_NS - 1))
    pose = robot.pose(0.5)
    assert not isinstance(pose, Fault) and pose.position[0] != 9.0, "older than what is known"


def test_a_frame_that_is_missing_is_a_fault() -> None:
    fault = RobotState(SetClock(NOW_NS), SETTINGS).pose(0.5)
    assert isinstance(fault, Fault) and "no way from 'tip' up to 'base'" in fault.reason


def test_a_clock_that_jumps_back_begins_anew() -> None:
    clock = SetClock(NOW_NS)
    robot = state(clock)
    clock.set_ns(1_000_000_000)
    robot.clock_jumped()
    assert isinstance(robot.pose(0.5), Fault), "nothing was heard since"
    robot.transforms.hear("link", step("base", LEFT, stamp_ns=1_000_000_000))
    assert not isinstance(robot.pose(0.5), Fault), "what is fixed still holds"


def test_too_many_frames_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("vla_infoentropy_ros.driving.transforms.within", refuse)
    with pytest.raises(TransformError, match="frames"):
        arm()


def refuse(name: str, amount: int, subject: object, error: type[Exception]) -> None:
    if name == "frames" and amount > 1:
        raise error("frames")
