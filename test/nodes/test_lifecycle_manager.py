# SPDX-License-Identifier: Apache-2.0
"""Brought up and down by a lifecycle manager, as docs/ros.md says: by services, without bond."""

import re
from pathlib import Path

import pytest
import yaml
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from std_srvs.srv import SetBool

from test.nodes.harness import driven, until

pytestmark = pytest.mark.usefixtures("ros")


@pytest.fixture
def manager():
    """Parameters of the manager in the documentation."""
    page = (Path(__file__).parents[2] / "docs" / "ros.md").read_text()
    (shown,) = re.findall(r"```yaml\n(lifecycle_manager.*?)```", page, re.S)
    return yaml.safe_load(shown)["lifecycle_manager_vla"]["ros__parameters"]


def test_a_manager_without_bond_starts_and_stops_the_node(manager):
    assert manager["bond_timeout"] == 0.0
    with driven(autostart=False, meet=False) as (robot, _, _):
        (name,) = manager["node_names"]
        change = robot.create_client(ChangeState, f"{name}/change_state")
        state = robot.create_client(GetState, f"{name}/get_state")

        def go(transition, reached):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert robot.call(change, request).success
            assert robot.call(state).current_state.id == reached

        assert robot.call(state).current_state.id == State.PRIMARY_STATE_UNCONFIGURED
        assert not robot.call(robot.enable, SetBool.Request(data=True)).success
        go(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        go(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)
        until(lambda: "waits for" in robot.status.detail, "no status", lambda: robot.status)
        assert not robot.status.enabled, "a manager is no operator"
        topics = dict(robot.get_topic_names_and_types())
        assert f"/{name}/status" in topics and "/bond" not in topics
        go(Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE)
        go(Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED)
