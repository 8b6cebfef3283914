# SPDX-License-Identifier: Apache-2.0
"""Time, durations, clocks, timers, simulated time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from builtin_interfaces.msg import Time as TimeMsg
from rclpy.clock import Clock, ClockChange, JumpThreshold, ROSClock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMsg

from .conftest import Graph

SIM = [Parameter("use_sim_time", value=True)]


class Simulation:
    """A publisher of /clock."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.publisher = graph.node("simulation").create_publisher(ClockMsg, "/clock", qos)

    def set(self, seconds: float, *nodes: Any) -> None:
        """Set the time and wait until the nodes have it."""
        now = Time(nanoseconds=int(seconds * 1e9), clock_type=ClockType.ROS_TIME)

        def arrived() -> bool:
            self.publisher.publish(ClockMsg(clock=now.to_msg()))
            self.graph.spin(0.02)
            return all(node.get_clock().now() == now for node in nodes)

        assert self.graph.until(arrived)


def test_arithmetic() -> None:
    start = Time(seconds=10, nanoseconds=5)
    assert start.nanoseconds == 10_000_000_005
    assert start.seconds_nanoseconds() == (10, 5)
    later = start + Duration(seconds=1.5)
    assert later - start == Duration(seconds=1, nanoseconds=500_000_000)
    assert (later - Duration(seconds=1.5)) == start
    assert start < later
    assert later >= start
    assert start != later
    assert Duration(seconds=-1) < Duration()
    assert Duration(seconds=2).nanoseconds == 2 * 10**9
    with pytest.raises(TypeError):
        assert Time(clock_type=ClockType.ROS_TIME) < Time(clock_type=ClockType.STEADY_TIME)
    with pytest.raises(ValueError):
        Time(seconds=-1)
    with pytest.raises(OverflowError):
        Time(nanoseconds=2**63)


def test_messages() -> None:
    assert Time(seconds=3, nanoseconds=4).to_msg() == TimeMsg(sec=3, nanosec=4)
    back = Time.from_msg(TimeMsg(sec=3, nanosec=4))
    assert back.nanoseconds == 3_000_000_004
    assert back.clock_type == ClockType.ROS_TIME
    assert Duration.from_msg(Duration(seconds=-0.5).to_msg()) == Duration(seconds=-0.5)


def test_clocks(graph: Graph) -> None:
    assert abs(Clock().now().nanoseconds - time.time_ns()) < 10**9
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    assert steady.now().clock_type == ClockType.STEADY_TIME
    assert steady.now() <= steady.now()
    node_clock = graph.node().get_clock()
    assert node_clock.clock_type == ClockType.ROS_TIME
    assert not node_clock.ros_time_is_active
    assert abs(node_clock.now().nanoseconds - time.time_ns()) < 10**9


def test_timer_keeps_its_rate(graph: Graph) -> None:
    node = graph.node()
    calls: list[float] = []
    timer = node.create_timer(0.02, lambda: calls.append(time.monotonic()))
    assert graph.until(lambda: len(calls) >= 20)
    # Late calls do not shift later ones: the schedule holds on average, even on a busy machine.
    assert (calls[-1] - calls[0]) / (len(calls) - 1) >= 0.019
    assert timer.timer_period_ns == 20_000_000
    assert not timer.is_canceled()


def test_timer_cancel_and_reset(graph: Graph) -> None:
    node = graph.node()
    calls: list[int] = []
    timer = node.create_timer(0.02, lambda: calls.append(1))
    timer.cancel()
    graph.spin(0.1)
    assert calls == []
    assert timer.is_canceled()
    timer.reset()
    assert graph.until(lambda: calls)
    node.destroy_timer(timer)
    count = len(calls)
    graph.spin(0.1)
    assert len(calls) == count


def test_timer_skips_missed_periods(graph: Graph) -> None:
    node = graph.node()
    calls: list[float] = []
    node.create_timer(0.05, lambda: calls.append(time.monotonic()))
    time.sleep(0.5)
    graph.spin(0.02)
    assert len(calls) == 1


def test_timer_on_steady_clock(graph: Graph) -> None:
    node = graph.node(parameter_overrides=SIM)
    calls: list[int] = []
    node.create_timer(0.02, lambda: calls.append(1), clock=Clock(clock_type=ClockType.STEADY_TIME))
    assert graph.until(lambda: len(calls) >= 2), "a steady timer must run without /clock"


def test_simulated_time(graph: Graph) -> None:
    node, simulation = graph.node(parameter_overrides=SIM), Simulation(graph)
    assert node.get_clock().ros_time_is_active
    assert node.get_clock().now().nanoseconds == 0
    simulation.set(100.0, node)
    graph.spin(0.05)
    assert node.get_clock().now().nanoseconds == 100 * 10**9


def test_timer_on_simulated_time(graph: Graph) -> None:
    node, simulation = graph.node(parameter_overrides=SIM), Simulation(graph)
    simulation.set(50.0, node)
    calls: list[int] = []
    node.create_timer(1.0, lambda: calls.append(node.get_clock().now().nanoseconds // 10**9))
    graph.spin(0.1)
    assert calls == []
    simulation.set(51.1, node)
    assert graph.until(lambda: calls == [51])
    simulation.set(51.5, node)
    graph.spin(0.05)
    assert calls == [51]
    simulation.set(52.1, node)
    assert graph.until(lambda: calls == [51, 52])


def test_simulated_time_moves_backwards(graph: Graph) -> None:
    node, simulation = graph.node(parameter_overrides=SIM), Simulation(graph)
    simulation.set(100.0, node)
    calls: list[int] = []
    node.create_timer(1.0, lambda: calls.append(node.get_clock().now().nanoseconds // 10**9))
    simulation.set(101.1, node)
    assert graph.until(lambda: calls == [101])
    jumps: list[Any] = []
    threshold = JumpThreshold(
        min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=False
    )
    handle = node.get_clock().create_jump_callback(threshold, post_callback=jumps.append)
    simulation.set(10.0, node)
    assert [round(jump.delta.nanoseconds / 1e9, 3) for jump in jumps] == [-91.1]
    assert jumps[0].clock_change == ClockChange.ROS_TIME_NO_CHANGE
    simulation.set(11.2, node)
    assert graph.until(lambda: calls == [101, 11]), "the timer must start anew after the jump"
    handle.unregister()
    simulation.set(1.0, node)
    assert len(jumps) == 1


def test_jump_callbacks_of_a_clock() -> None:
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    clock.set_ros_time_override(Time(seconds=10, clock_type=ClockType.ROS_TIME))
    order: list[str] = []
    threshold = JumpThreshold(
        min_forward=Duration(seconds=5), min_backward=Duration(seconds=-5), on_clock_change=True
    )
    with clock.create_jump_callback(
        threshold,
        pre_callback=lambda: order.append("pre"),
        post_callback=lambda jump: order.append(f"post {jump.delta.nanoseconds / 1e9:g}"),
    ):
        clock.set_ros_time_override(Time(seconds=12, clock_type=ClockType.ROS_TIME))
        assert order == []
        clock.set_ros_time_override(Time(seconds=20, clock_type=ClockType.ROS_TIME))
        assert order == ["pre", "post 8"]
        clock.set_ros_time_override(Time(seconds=2, clock_type=ClockType.ROS_TIME))
        assert order[2:] == ["pre", "post -18"]
        clock._set_ros_time_is_active(False)
        assert len(order) == 6
    for wrong in (
        {"min_forward": Duration(seconds=-1), "min_backward": None},
        {"min_forward": None, "min_backward": Duration(seconds=1)},
        {"min_forward": None, "min_backward": None, "on_clock_change": False},
    ):
        with pytest.raises(ValueError):
            JumpThreshold(**wrong)


def test_switching_simulated_time_at_run_time(graph: Graph) -> None:
    node, simulation = graph.node(), Simulation(graph)
    changes: list[Any] = []
    threshold = JumpThreshold(min_forward=None, min_backward=None, on_clock_change=True)
    handle = node.get_clock().create_jump_callback(
        threshold, post_callback=lambda jump: changes.append(jump.clock_change)
    )
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    simulation.set(42.0, node)
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert node.get_clock().now().nanoseconds > 10**18
    assert changes == [ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED]
    handle.unregister()


def test_sleeping(graph: Graph) -> None:
    clock = graph.node().get_clock()
    start = time.monotonic()
    assert clock.sleep_for(Duration(seconds=0.1), context=graph.context)
    assert time.monotonic() - start >= 0.099
    threading.Timer(0.2, graph.context.shutdown).start()
    assert not clock.sleep_for(Duration(seconds=60), context=graph.context)
