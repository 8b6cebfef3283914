# SPDX-License-Identifier: Apache-2.0
"""Actions as a benchmark's controller takes them, and policies that do not fit it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_infoentropy_ros.models.adapter import Action, ActionConvention
from vla_infoentropy_ros.serve.access import Access, AccessError
from vla_infoentropy_ros.serve.actions import ActionForm, ActionFormError

LIBERO = ActionConvention("rpy", "one_is_open", "base", 0.05)


def action(*values: float) -> Action:
    return Action(np.array(values), np.zeros(7), (0,) * 7)


def test_metres_and_radians_become_inputs_of_the_controller() -> None:
    written = ActionForm("osc_pose", LIBERO).write(action(0.05, -0.025, 0.2, 0, 0, 0.25, 1))
    assert written == pytest.approx([1.0, -0.5, 1.0, 0, 0, 0.5, -1.0])


@pytest.mark.parametrize(("gripper", "value", "wanted"), [
    ("one_is_open", 0.49, 1.0), ("one_is_open", 0.51, -1.0),
    ("minus_one_is_open", -1.0, -1.0), ("minus_one_is_open", 1.0, 1.0),
    ("one_is_closed", 1.0, 1.0),
])
def test_the_gripper_closes_with_one(gripper: str, value: float, wanted: float) -> None:
    form = ActionForm("osc_pose", replace(LIBERO, gripper=gripper))
    assert form.write(action(0, 0, 0, 0, 0, 0, value))[6] == wanted


def test_no_turn_stays_exactly_none() -> None:
    # The controller keeps its goal only where a turn is exactly zero.
    written = ActionForm("osc_pose", LIBERO).write(action(0, 0, 0, 0, 0, 0, 1))
    assert (written[3:6] == 0.0).all()


@pytest.mark.parametrize(("convention", "says"), [
    (replace(LIBERO, frame="end_effector"), "'end_effector'"),
    (replace(LIBERO, control_period_s=0.2), "0.2 s"),
])
def test_a_policy_that_does_not_fit_is_refused(convention: ActionConvention, says: str) -> None:
    with pytest.raises(ActionFormError, match=says):
        ActionForm("osc_pose", convention)
    assert ActionForm("policy", convention).write(action(*range(7))) == pytest.approx(range(7))


@pytest.mark.parametrize(("host", "token", "says"), [
    ("0.0.0.0", "", "can be reached by others"),
    ("robot.local", "", "can be reached by others"),
    ("::", "", "can be reached by others"),
    ("127.0.0.1", "short", "5 characters"),
])
def test_a_server_does_not_stand_open(host: str, token: str, says: str) -> None:
    with pytest.raises(AccessError, match=says):
        Access(host, token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert Access(host).refusal("/", {}) == ""
