# SPDX-License-Identifier: Apache-2.0
"""What the arm tells of itself, and when: by a clock that is set."""

import numpy as np
import pytest

from test.driving.rig import SECOND, START_NS
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState

HERE = Pose(np.array([0.4, 0.0, 0.3]), (1.0, 0.0, 0.0, 0.0))
CENTURY = 100 * 365 * 86400 * SECOND
PATIENCE_S = 0.5


@pytest.fixture
def state():
    return RobotState(SetClock(START_NS), CommandSettings())


@pytest.mark.parametrize("ahead_ns", [60_000_000, CENTURY])
def test_a_stamp_of_the_future_is_named_and_outlives_no_later_one(state, ahead_ns):
    state.hear_pose(HERE, "base_link", START_NS + ahead_ns)
    state.hear_joints(["a"], [1.0], START_NS + ahead_ns)
    for found in (state.pose(PATIENCE_S), state.joints(("a",), PATIENCE_S)):
        assert isinstance(found, Fault) and found.code == "stale_state"
        assert f"{ahead_ns / 1e9:.3f} s ahead of this node's clock" in found.reason
        assert "command.max_clock_skew_s=0.05" in found.reason
    state.hear_pose(HERE, "base_link", START_NS)
    state.hear_joints(["a"], [1.0], START_NS)
    assert state.pose(PATIENCE_S) is HERE
    assert state.joints(("a",), PATIENCE_S) == [1.0]


def test_clocks_may_differ_by_the_skew_that_is_allowed(state):
    state.hear_pose(HERE, "base_link", START_NS + 40_000_000)
    assert state.pose(PATIENCE_S) is HERE


def test_what_is_no_position_is_named_with_its_joint(state):
    state.hear_joints(["a", "b"], [1.0, float("nan")], 0)
    assert state.joints(("a",), PATIENCE_S) == [1.0]
    found = state.joints(("a", "b"), PATIENCE_S)
    assert isinstance(found, Fault) and "for b: nan is no position" in found.reason


@pytest.mark.parametrize(("names", "positions", "told"), [
    (["a", "b"], [2.0], "for a: 2 name(s) came with 1 position(s)"),
    (["a"], [2.0, 3.0], "for a: 1 name(s) came with 2 position(s)"),
    (["a", "a"], [2.0, 3.0], "for a: one message names it 2 times"),
])
def test_positions_that_may_be_another_joints_are_not_taken(state, names, positions, told):
    state.hear_joints(["a", "b"], [1.0, 1.0], START_NS)
    state.hear_joints(names, positions, START_NS + 1)
    found = state.joints(("a",), PATIENCE_S)
    assert isinstance(found, Fault) and told in found.reason
    state.hear_joints(["a", "b"], [4.0, 5.0], START_NS + 2)
    assert state.joints(("a", "b"), PATIENCE_S).tolist() == [4.0, 5.0]


def test_speeds_alone_are_no_news_of_positions(state):
    state.hear_joints(["a"], [1.0], START_NS)
    state.hear_joints(["a"], [], START_NS + 1)
    assert state.joints(("a",), PATIENCE_S) == [1.0]
