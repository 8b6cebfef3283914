# SPDX-License-Identifier: Apache-2.0
"""Executors, callback groups, futures, tasks, guard conditions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.task import Future
from std_msgs.msg import Int64

from .conftest import PATIENCE_SEC, Graph


@contextmanager
def spinning(graph: Graph, node: Any, threads: int = 4) -> Iterator[MultiThreadedExecutor]:
    """Spin a node in other threads; they are joined at the end."""
    graph.executor.remove_node(node)
    executor = MultiThreadedExecutor(num_threads=threads, context=graph.context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        yield executor
    finally:
        executor.shutdown()
        thread.join(PATIENCE_SEC)
        assert not thread.is_alive()


class Overlap:
    """Counts how many calls run at once."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.now, self.most, self.calls = wanted, 0, 0, 0
        self.lock = threading.Lock()
        self.reached = threading.Event()
        self.many = threading.Event()

    def __call__(self, *_: Any) -> None:
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
            if self.most >= self.wanted:
                self.reached.set()
            if self.calls >= 6:
                self.many.set()
        self.reached.wait(0.05)
        with self.lock:
            self.now -= 1


def test_reentrant_callbacks_overlap(graph: Graph) -> None:
    node, overlap = graph.node(), Overlap(2)
    group = ReentrantCallbackGroup()
    for _ in range(2):
        node.create_timer(0.01, overlap, callback_group=group)
    with spinning(graph, node):
        assert overlap.reached.wait(PATIENCE_SEC)


def test_exclusive_callbacks_do_not_overlap(graph: Graph) -> None:
    node, overlap = graph.node(), Overlap(2)
    group = MutuallyExclusiveCallbackGroup()
    for _ in range(3):
        node.create_timer(0.005, overlap, callback_group=group)
    with spinning(graph, node):
        assert overlap.many.wait(PATIENCE_SEC)
    assert overlap.most == 1


def test_groups_run_side_by_side(graph: Graph) -> None:
    node, overlap = graph.node(), Overlap(2)
    for _ in range(2):
        node.create_timer(0.01, overlap, callback_group=MutuallyExclusiveCallbackGroup())
    with spinning(graph, node):
        assert overlap.reached.wait(PATIENCE_SEC)


def test_slow_callback_does_not_block_another_group(graph: Graph) -> None:
    node = graph.node()
    release, fast = threading.Event(), threading.Event()
    slow_started = threading.Event()

    def slow() -> None:
        slow_started.set()
        release.wait(PATIENCE_SEC)

    def quick() -> None:
        if slow_started.is_set():
            fast.set()

    node.create_timer(0.01, slow, callback_group=MutuallyExclusiveCallbackGroup())
    node.create_timer(0.01, quick, callback_group=MutuallyExclusiveCallbackGroup())
    with spinning(graph, node):
        assert fast.wait(PATIENCE_SEC)
        release.set()


def test_messages_in_order_with_many_threads(graph: Graph) -> None:
    node = graph.node()
    received: list[int] = []
    done = threading.Event()

    def receive(message: Int64) -> None:
        received.append(message.data)
        if message.data == 49:
            done.set()

    node.create_subscription(Int64, "numbers", receive, 100)
    publisher = node.create_publisher(Int64, "numbers", 100)
    graph.match(publisher)
    with spinning(graph, node):
        for number in range(50):
            publisher.publish(Int64(data=number))
        assert done.wait(PATIENCE_SEC)
    assert received == list(range(50))


def test_spin_once_runs_one_callback(graph: Graph) -> None:
    node = graph.node()
    received: list[int] = []
    node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), 10)
    publisher = node.create_publisher(Int64, "numbers", 10)
    graph.match(publisher)
    for number in range(3):
        publisher.publish(Int64(data=number))
    time.sleep(0.1)
    graph.executor.spin_once(timeout_sec=1.0)
    assert len(received) <= 1
    assert graph.until(lambda: len(received) == 3)


def test_spin_once_times_out(graph: Graph) -> None:
    executor = SingleThreadedExecutor(context=graph.context)
    start = time.monotonic()
    executor.spin_once(timeout_sec=0.1)
    assert 0.09 <= time.monotonic() - start < 5.0
    executor.spin_once(timeout_sec=0)
    executor.shutdown()


def test_exception_of_a_callback_reaches_the_spinner(graph: Graph) -> None:
    node = graph.node()

    def fail() -> None:
        raise ValueError("from the callback")

    timer = node.create_timer(0.01, fail)
    with pytest.raises(ValueError, match="from the callback"):
        graph.spin(2.0)
    node.destroy_timer(timer)
    graph.spin(0.05)


def test_spin_until_future_complete(graph: Graph) -> None:
    node, future = graph.node(), Future()
    node.create_timer(0.05, lambda: future.done() or future.set_result("ready"))
    graph.executor.spin_until_future_complete(future, timeout_sec=PATIENCE_SEC)
    assert future.result() == "ready"
    never = Future()
    start = time.monotonic()
    graph.executor.spin_until_future_complete(never, timeout_sec=0.2)
    assert not never.done()
    assert time.monotonic() - start < 5.0


def test_future_set_from_another_thread(graph: Graph) -> None:
    graph.node()
    future = Future()
    threading.Timer(0.1, future.set_result, args=(5,)).start()
    graph.executor.spin_until_future_complete(future, timeout_sec=PATIENCE_SEC)
    assert future.result() == 5


def test_future() -> None:
    future = Future()
    assert not future.done()
    assert future.result() is None
    seen: list[Any] = []
    future.add_done_callback(lambda done: seen.append(done.result()))
    future.set_result(3)
    assert (future.done(), future.result(), seen) == (True, 3, [3])
    failed = Future()
    failed.set_exception(KeyError("x"))
    with pytest.raises(KeyError):
        failed.result()
    cancelled = Future()
    cancelled.cancel()
    assert cancelled.cancelled()


def test_tasks_and_coroutines(graph: Graph) -> None:
    graph.node()
    gate = Future()

    async def wait_for_gate(extra: int) -> int:
        return await gate + extra

    task = graph.executor.create_task(wait_for_gate, 2)
    plain = graph.executor.create_task(lambda a, b: a * b, 6, 7)
    assert graph.until(plain.done)
    assert plain.result() == 42
    assert not task.done()
    gate.set_result(40)
    assert graph.until(task.done)
    assert task.result() == 42


def test_coroutine_as_callback(graph: Graph) -> None:
    node, gate = graph.node(), Future()
    log: list[str] = []

    async def callback(message: Int64) -> None:
        log.append("start")
        await gate
        log.append("end")

    node.create_subscription(
        Int64, "numbers", callback, 10, callback_group=ReentrantCallbackGroup()
    )
    publisher = node.create_publisher(Int64, "numbers", 10)
    graph.match(publisher)
    publisher.publish(Int64())
    assert graph.until(lambda: log == ["start"])
    graph.spin(0.05)
    assert log == ["start"]
    gate.set_result(None)
    assert graph.until(lambda: log == ["start", "end"])


def test_guard_condition(graph: Graph) -> None:
    node = graph.node()
    calls: list[int] = []
    guard = node.create_guard_condition(lambda: calls.append(1))
    graph.spin(0.05)
    assert calls == []
    threading.Timer(0.05, guard.trigger).start()
    assert graph.until(lambda: calls)
    graph.spin(0.05)
    assert calls == [1]
    assert node.destroy_guard_condition(guard)


def test_nodes_come_and_go(graph: Graph) -> None:
    node = graph.node()
    assert node.executor is graph.executor
    assert not graph.executor.add_node(node)
    calls: list[int] = []
    node.create_timer(0.01, lambda: calls.append(1))
    assert graph.until(lambda: calls)
    graph.executor.remove_node(node)
    count = len(calls)
    graph.spin(0.1)
    assert len(calls) == count


def test_entity_created_while_spinning(graph: Graph) -> None:
    node = graph.node()
    created = threading.Event()
    with spinning(graph, node):
        time.sleep(0.1)
        node.create_timer(0.01, created.set)
        assert created.wait(PATIENCE_SEC)


def test_shutdown_ends_spin(graph: Graph) -> None:
    node = graph.node()
    graph.executor.remove_node(node)
    executor = SingleThreadedExecutor(context=graph.context)
    executor.add_node(node)
    outcome: list[Any] = []

    def spin() -> None:
        try:
            executor.spin()
            outcome.append("returned")
        except ExternalShutdownException:
            outcome.append("external shutdown")

    thread = threading.Thread(target=spin)
    thread.start()
    time.sleep(0.2)
    graph.context.shutdown()
    thread.join(PATIENCE_SEC)
    assert not thread.is_alive()
    assert len(outcome) == 1
    executor.shutdown()


def test_rate(graph: Graph) -> None:
    node = graph.node()
    rate = node.create_rate(50.0)
    with spinning(graph, node):
        start = time.monotonic()
        for _ in range(5):
            rate.sleep()
        assert time.monotonic() - start >= 0.07
    node.destroy_rate(rate)
