# SPDX-License-Identifier: Apache-2.0
"""Episodes run from outside, in a namespace that keeps the simulation to itself."""

import threading
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from test.nodes.harness import until
from test.nodes.test_sim_node import table
from vla_infoentropy_ros.demo.observer import EpisodeObserver
from vla_infoentropy_ros.nodes.clients import episode_recorder
from vla_infoentropy_ros.nodes.clients.episode_client import (
    POLICY,
    SIM,
    EpisodeClient,
    GraphError,
)
from vla_infoentropy_ros.nodes.clients.episode_recorder import EpisodeRecorder

pytestmark = pytest.mark.usefixtures("ros")

COMMANDS = ("twist_command", "gripper_command", "action")


def client(namespace="", check=lambda: None):
    domain = rclpy.utilities.get_default_context().get_domain_id()
    return EpisodeClient(domain, check, namespace)


def test_an_episode_that_a_robot_on_the_same_domain_hears_nothing_of():
    kept = []
    with table(namespace="sim") as (robot, node, sim, _), client("sim") as ours:
        clock, diagnostics = [], []
        robot.create_subscription(Clock, "/clock", clock.append, 1)
        robot.create_subscription(DiagnosticArray, "/diagnostics", diagnostics.append, 1)
        ours.wait_until_ready(60.0)
        ours.set_parameters(SIM, {"seed": 1_000_003})
        observer = EpisodeObserver("dense", 1_000_003)
        ours.set_parameters(POLICY, {"selector": "dense"})
        with EpisodeRecorder(ours, lambda *message: kept.append(message)):
            ours.run_episode(observer, 30.0)
        record = observer.record()
        assert (record.steps, len(record.records)) == (4, 4) and record.reason == "step_limit"

        until(lambda: clock, "no time")  # global: what was sent before the end has arrived
        heard = (robot.twists, robot.openings, robot.actions, robot.statuses, robot.selections)
        assert not any(heard)
        assert not any(robot.count_publishers(topic) for topic in COMMANDS)
        assert all(ours.node.count_publishers(topic) for topic in COMMANDS)
        assert not robot.enable.service_is_ready(), "an operator of a robot reaches the simulation"

        until(lambda: diagnostics, "no diagnostics")
        assert diagnostics[0].status[0].name == "sim/policy_node: camera"

        # And the other way: a camera, an instruction and a status of a robot are not taken.
        robot.say("put it elsewhere")
        robot.look()
        time.sleep(0.3)
        assert ours.status.instruction == record.instruction
        assert int(ours.status.steps) <= 4 and sim.link.status.instruction == record.instruction
        assert node.get_fully_qualified_name() == "/sim/policy_node"
    topics = {topic for topic, *_ in kept}
    assert {f"/sim/{topic}" for topic in COMMANDS} < topics
    assert {topic for topic in topics if not topic.startswith("/sim/")} == {"/clock"}
    assert ("/sim/instruction", "std_msgs/msg/String", True) in {(t, k, s) for t, k, _, s in kept}


def test_refusals_are_told():
    with table() as (watcher, _, _, _), client() as ours:
        ours.wait_until_ready(60.0)
        with pytest.raises(GraphError, match="policy_node refuses selector='best'"):
            ours.set_parameters(POLICY, {"selector": "best"})
        assert ours.policy_parameters(["selector"]) == {"selector": "attention_drift+window"}
        assert watcher.call(watcher.enable, SetBool.Request(data=False)).success


def test_waiting_ends_when_there_is_nothing_to_wait_for():
    with client() as ours, pytest.raises(GraphError, match=r"within 0 s: nothing was heard"):
        ours.wait_until_ready(0.2)

    def dead():
        raise RuntimeError("the node has died")

    with client(check=dead) as ours, pytest.raises(RuntimeError, match="has died"):
        ours.wait_until_ready(30.0)


def test_a_recorder_ends_in_the_thread_that_waits_for_its_topics(monkeypatch):
    """Destroyed by another one, they could end that thread, and nothing would answer any more."""
    monkeypatch.setattr(episode_recorder, "_MATCHING_S", 0.1)
    with client() as ours:
        destroy, threads = ours.node.destroy_subscription, []

        def watched(subscription):
            threads.append(threading.current_thread().name)
            return destroy(subscription)

        ours.node.destroy_subscription = watched
        with EpisodeRecorder(ours, lambda *message: None):
            pass
        assert threads and set(threads) == {"episode-client"}
