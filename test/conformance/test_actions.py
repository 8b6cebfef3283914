# SPDX-License-Identifier: Apache-2.0
"""Actions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from example_interfaces.action import Fibonacci
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from .conftest import PATIENCE_SEC, Graph


def fibonacci(handle: Any) -> Any:
    sequence = [0, 1]
    for _ in range(1, handle.request.order):
        sequence.append(sequence[-1] + sequence[-2])
        handle.publish_feedback(Fibonacci.Feedback(sequence=sequence))
    handle.succeed()
    return Fibonacci.Result(sequence=sequence)


def client(graph: Graph, node: Any) -> Any:
    built = ActionClient(node, Fibonacci, "fibonacci")
    assert graph.until(built.server_is_ready)
    graph.spin(0.1)
    return built


def test_goal_feedback_result(graph: Graph) -> None:
    server_node, node = graph.node("server"), graph.node("user")
    server = ActionServer(server_node, Fibonacci, "fibonacci", fibonacci)
    user = client(graph, node)
    assert user.wait_for_server(timeout_sec=PATIENCE_SEC)
    feedback: list[list[int]] = []
    handle = graph.result(
        user.send_goal_async(
            Fibonacci.Goal(order=4),
            feedback_callback=lambda message: feedback.append(list(message.feedback.sequence)),
        )
    )
    assert handle.accepted
    response = graph.result(handle.get_result_async())
    assert response.status == GoalStatus.STATUS_SUCCEEDED
    assert list(response.result.sequence) == [0, 1, 1, 2, 3]
    assert graph.until(lambda: len(feedback) == 3)
    assert feedback[0] == [0, 1, 1]
    user.destroy()
    server.destroy()


def test_rejected_goal(graph: Graph) -> None:
    node = graph.node()
    server = ActionServer(
        node, Fibonacci, "fibonacci", fibonacci, goal_callback=lambda goal: GoalResponse.REJECT
    )
    user = client(graph, node)
    assert not graph.result(user.send_goal_async(Fibonacci.Goal(order=1))).accepted
    with pytest.raises(TypeError):
        user.send_goal_async(Fibonacci.Result())
    user.destroy()
    server.destroy()


@pytest.mark.parametrize("answer", list(CancelResponse))
def test_cancellation(graph: Graph, answer: CancelResponse) -> None:
    node, gate = graph.node(), Future()
    started: list[Any] = []

    async def run(handle: Any) -> Any:
        started.append(handle)
        await gate
        if handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.succeed()
        return Fibonacci.Result(sequence=[7])

    server = ActionServer(
        node,
        Fibonacci,
        "fibonacci",
        run,
        cancel_callback=lambda goal: answer,
        callback_group=ReentrantCallbackGroup(),
    )
    user = client(graph, node)
    handle = graph.result(user.send_goal_async(Fibonacci.Goal(order=1)))
    assert graph.until(lambda: started)
    response = graph.result(handle.cancel_goal_async())
    accepted = answer is CancelResponse.ACCEPT
    assert len(response.goals_canceling) == int(accepted)
    result = handle.get_result_async()
    graph.spin(0.1)
    assert not result.done()
    gate.set_result(None)
    status = graph.result(result).status
    wanted = GoalStatus.STATUS_CANCELED if accepted else GoalStatus.STATUS_SUCCEEDED
    assert status == wanted
    user.destroy()
    server.destroy()


def test_goal_that_fails(graph: Graph) -> None:
    node = graph.node()

    def run(handle: Any) -> Any:
        if handle.request.order == 1:
            raise RuntimeError("cannot")
        return Fibonacci.Result()  # and no final state

    server = ActionServer(node, Fibonacci, "fibonacci", run)
    user = client(graph, node)
    for order in (1, 2):
        handle = graph.result(user.send_goal_async(Fibonacci.Goal(order=order)))
        status = graph.result(handle.get_result_async()).status
        assert status == GoalStatus.STATUS_ABORTED
    user.destroy()
    server.destroy()


def test_no_server(graph: Graph) -> None:
    user = ActionClient(graph.node(), Fibonacci, "fibonacci")
    start = time.monotonic()
    assert not user.wait_for_server(timeout_sec=0.2)
    assert time.monotonic() - start < PATIENCE_SEC
    user.destroy()
