# SPDX-License-Identifier: Apache-2.0
"""The simulator and the policy node in closed loop, over the real middleware."""

import itertools
import threading
import time
from contextlib import contextmanager

import pytest
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger
from vla_infoentropy_ros.msg import EpisodeResult, VlaAction

from test.nodes import policies
from test.nodes.harness import FAST, Rig, Robot, parameters, until
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.episodes import EpisodeEnd
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.qos import LATCHED
from vla_infoentropy_ros.nodes.sim_node import SimNode

pytestmark = pytest.mark.usefixtures("ros")


class Watcher(Robot):
    """Sees the results and starts episodes."""

    def __init__(self, beside: bool = True) -> None:
        super().__init__("watcher")
        if beside:  # in the simulator's namespace, which is the one source of both
            for publisher in (self.camera, self.mouth):
                self.destroy_publisher(publisher)
        self.results: list[EpisodeResult] = []
        self.create_subscription(EpisodeResult, "episode", self.results.append, LATCHED)
        self.start_episode = self.create_client(Trigger, "sim_node/start_episode")
        self.stop_episode = self.create_client(Trigger, "sim_node/stop_episode")


@contextmanager
def table(policy=None, namespace="", **overrides):
    """A simulator in its own thread (the renderer belongs to it), a policy node, a watcher.

    The watcher stays outside of the namespace."""
    policies.SCRIPT.__init__()
    timed = {"use_sim_time": overrides.get("lockstep", True), "command.max_clock_skew_s": 0.5}
    settings = FAST | timed | (policy or {})
    node = PolicyNode(parameter_overrides=parameters(settings), namespace=namespace)
    settings = {"image_size": 32, "max_steps": 4} | overrides
    sim = SimNode(parameter_overrides=parameters(settings), namespace=namespace)
    watcher = Watcher(beside=not namespace)
    node.start()
    rig, ending = Rig(node, watcher), threading.Event()
    executor = SingleThreadedExecutor()
    executor.add_node(sim)
    thread = threading.Thread(target=sim.loop, args=(executor, ending), daemon=True)
    thread.start()
    try:
        yield watcher, node, sim, rig
    finally:
        ending.set()
        thread.join(30)
        executor.shutdown()
        rig.close()
        node.stop()
        for each in (node, sim, watcher):
            each.destroy_node()


def test_an_episode_in_lockstep():
    with table() as (watcher, _, sim, _):
        assert watcher.set(sim, seed=1_000_003).successful
        assert watcher.call(watcher.start_episode).success
        until(lambda: watcher.results, "no result", lambda: watcher.status)
        result = watcher.results[0]
        assert (result.reason, result.steps, result.seed) == ("step_limit", 4, 1_000_003)
        assert "cube" in result.instruction and not result.success
        assert [action.step for action in watcher.actions] == [0, 1, 2, 3]
        stamps = [to_ns(action.observation_stamp) for action in watcher.actions]
        assert {b - a for a, b in itertools.pairwise(stamps)} == {200_000_000}
        assert all(action.observation_age.nanosec == 0 for action in watcher.actions)
        assert sim.env.state.hand[2] < 0.2
        watcher.call(watcher.start_episode)
        until(lambda: len(watcher.results) == 2, "no second episode", lambda: watcher.status)
        assert watcher.actions[4].step == 0, "the policy was not reset between episodes"


def test_the_simulator_moves_as_the_action_says():
    with table() as (watcher, _, sim, _):
        moved = []
        drive = sim.env.step_velocity
        sim.env.step_velocity = lambda twist, opening, duration: (
            moved.append((twist, opening, duration)),
            drive(twist, opening, duration),
        )
        watcher.call(watcher.start_episode)
        until(lambda: watcher.results, "no result")
        assert len(moved) == 4
        for (twist, opening, duration), action in zip(moved, watcher.actions, strict=True):
            assert isinstance(action, VlaAction)
            assert twist.tolist() == from_twist(action.command).tolist()
            assert opening == action.gripper_opening and duration == 0.2


def test_episodes_one_after_the_other():
    with table(episodes=2, seed=7) as (watcher, _, _, _):
        until(lambda: watcher.results and watcher.results[-1].seed == 8, "not both episodes")


def test_real_time():
    with table(lockstep=False, camera_rate_hz=20.0, max_steps=10_000) as (watcher, _, sim, _):
        watcher.call(watcher.start_episode)
        until(lambda: len(watcher.actions) > 2, "no actions")
        start = sim.env.state.hand.copy()
        until(lambda: (sim.env.state.hand != start).any(), "the hand does not move")
        watcher.call(watcher.stop_episode)
        until(lambda: watcher.results, "no result")
        assert watcher.results[0].reason == "stopped" and watcher.results[0].steps > 0


def test_a_policy_fault_ends_the_episode():
    with table() as (watcher, _, _, _):
        policies.SCRIPT.values = (float("nan"),) * 7
        watcher.call(watcher.start_episode)
        until(lambda: watcher.results, "no result")
        assert watcher.results[0].reason == "policy_fault"
        assert "invalid_action" in watcher.results[0].detail
        watcher.call(watcher.start_episode)
        until(lambda: len(watcher.results) == 2, "no result")
        assert watcher.results[1].reason == "policy_fault", "a fault stays until it is cleared"


def test_episodes_wait_while_a_fault_is_latched_and_go_on_once_it_is_cleared():
    with table(episodes=-1) as (watcher, _, _, _):
        healthy, policies.SCRIPT.values = policies.SCRIPT.values, (float("nan"),) * 7
        until(lambda: watcher.results and watcher.results[-1].reason == "policy_fault", "no fault")
        failed = len(watcher.results)
        time.sleep(0.5)
        assert len(watcher.results) == failed, "each episode fails at once"
        policies.SCRIPT.values = healthy
        assert watcher.call(watcher.clear_fault).success
        until(lambda: len(watcher.results) > failed, "no episode", lambda: watcher.status)
        assert watcher.results[failed].reason == "step_limit"


def test_commands_are_heard_however_late_a_picture_is():
    with table(lockstep=False, camera_rate_hz=60.0, max_steps=10_000) as (watcher, _, sim, _):
        render = sim.env.render
        sim.env.render = lambda: (time.sleep(0.03), render())[1]
        watcher.call(watcher.start_episode)
        until(lambda: watcher.actions, "no action")
        policies.SCRIPT.values = (float("nan"),) * 7
        until(lambda: watcher.results, "the fault is not heard")
        assert watcher.results[0].reason == "policy_fault"


def test_a_policy_that_goes_ends_the_episode():
    with table(max_steps=10_000) as (watcher, node, _, rig):
        watcher.call(watcher.start_episode)
        until(lambda: len(watcher.actions) > 2, "no action")
        rig.do(node.trigger_deactivate)
        until(lambda: watcher.results, "no result")
        assert watcher.results[0].reason == "policy_fault"
        assert "active" in watcher.results[0].detail


def test_a_step_that_takes_too_long_ends_the_episode():
    with table(step_timeout_s=0.6) as (watcher, _, _, _):
        policies.SCRIPT.delay_s = 2.0
        watcher.call(watcher.start_episode)
        until(lambda: watcher.results, "no result")
        assert watcher.results[0].reason == "timeout"
        assert "step_timeout_s=0.6" in watcher.results[0].detail


def test_an_episode_can_be_stopped_and_not_started_twice():
    with table(max_steps=10_000) as (watcher, _, _, _):
        watcher.call(watcher.start_episode)
        until(lambda: watcher.actions, "no action")
        second = watcher.call(watcher.start_episode)
        assert not second.success and "running" in second.message
        assert watcher.call(watcher.stop_episode).success
        until(lambda: watcher.results, "no result")
        assert watcher.results[0].reason == "stopped"


@pytest.mark.parametrize(
    ("override", "message"),
    [({"image_size": 1}, "image_size"), ({"sede": 3}, "did you mean seed")],
)
def test_a_mistake_at_startup_is_a_sentence(override, message):
    with pytest.raises(SettingError) as error:
        SimNode(parameter_overrides=parameters(override))
    assert message in str(error.value)


def test_what_a_policy_says_forges_no_line_of_the_log():
    end = EpisodeEnd("policy_fault", "gripper\n[FATAL] [sim_node]: \x1b[31mburning")
    assert end.detail == r"gripper\n[FATAL] [sim_node]: \x1b[31mburning"
