# SPDX-License-Identifier: Apache-2.0
"""Two robots on one graph, a namespace for each: neither sees, hears or stops the other."""

import time

import pytest
from std_srvs.srv import SetBool

from test.nodes.harness import WORDS, driven, until

pytestmark = pytest.mark.usefixtures("ros")


def test_two_policies_on_one_graph_drive_a_robot_each():
    with driven(namespace="left") as (left, _, _), driven(namespace="right") as (right, node, _):
        left.drive()
        until(lambda: right.statuses, "no status")
        assert not right.twists and not right.actions and not right.status.instruction
        right.say("take it away")
        until(lambda: right.status.instruction == "take it away", "not instructed")
        assert left.status.instruction == WORDS
        right.act()
        assert not right.status.enabled and not right.twists, "enabled by the other's operator"
        answer = right.call(right.enable, SetBool.Request(data=True))
        assert answer.success, f"refused for the other's publishers: {answer.message}"
        right.act()
        until(lambda: right.moving, "no motion", lambda: right.status)
        left.call(left.reset)
        left.ends_in_zero()
        right.act()
        until(lambda: right.moving, "stopped with the other", lambda: right.status)
        assert not left.status.fault and not right.status.fault
        assert node.driver.intake.counters.frames_rejected == 0
        until(lambda: {"left/policy_node: commands", "right/policy_node: commands"}
              <= left.diagnostics.keys(), "one topic tells of both, each by its name")
        count = len(left.twists)
        time.sleep(0.1)
        assert not any(twist.any() for twist in left.twists[count:])
