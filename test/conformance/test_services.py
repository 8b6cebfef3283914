# SPDX-License-Identifier: Apache-2.0
"""Services and clients."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from std_srvs.srv import Empty, SetBool, Trigger

from .conftest import PATIENCE_SEC, Graph


def answer(request: Any, response: Any) -> Any:
    response.success = request.data
    response.message = f"got {request.data}"
    return response


def test_request_and_reply(graph: Graph) -> None:
    server, user = graph.node("server"), graph.node("user")
    server.create_service(SetBool, "switch", answer)
    for value in (True, False):
        response = graph.call(user, SetBool, "switch", SetBool.Request(data=value))
        assert response == SetBool.Response(success=value, message=f"got {value}")
    assert graph.call(user, SetBool, "switch", SetBool.Request()).success is False


def test_empty_service(graph: Graph) -> None:
    node = graph.node()
    calls: list[int] = []

    def callback(request: Any, response: Any) -> Any:
        calls.append(1)
        return response

    node.create_service(Empty, "nothing", callback)
    assert graph.call(node, Empty, "nothing", Empty.Request()) == Empty.Response()
    assert calls == [1]


def test_replies_find_their_client(graph: Graph) -> None:
    node = graph.node()
    node.create_service(SetBool, "shared", answer)
    clients = [graph.node(f"client{i}").create_client(SetBool, "shared") for i in range(3)]
    for client in clients:
        assert client.wait_for_service(timeout_sec=PATIENCE_SEC)
    # Not more than the depth of the queue, 10, at once: the rest would be dropped.
    futures = [
        client.call_async(SetBool.Request(data=bool(index % 2)))
        for index in range(3)
        for client in clients
    ]
    assert graph.until(lambda: all(future.done() for future in futures))
    results = [future.result().success for future in futures]
    assert results == [bool(index % 2) for index in range(3) for _ in clients]


def test_waiting_without_server(graph: Graph) -> None:
    client = graph.node().create_client(Trigger, "absent")
    assert not client.service_is_ready()
    assert not client.wait_for_service(timeout_sec=0.1)


def test_server_goes_away(graph: Graph) -> None:
    server, user = graph.node("server"), graph.node("user")
    service = server.create_service(SetBool, "switch", answer)
    client = user.create_client(SetBool, "switch")
    assert client.wait_for_service(timeout_sec=PATIENCE_SEC)
    assert server.destroy_service(service)
    assert graph.until(lambda: not client.service_is_ready())


def test_asynchronous_server(graph: Graph) -> None:
    node = graph.node()
    node.create_service(SetBool, "inner", answer, callback_group=ReentrantCallbackGroup())
    inner = node.create_client(SetBool, "inner", callback_group=ReentrantCallbackGroup())

    async def forward(request: Any, response: Any) -> Any:
        result = await inner.call_async(request)
        response.success = result.success
        response.message = "forwarded"
        return response

    node.create_service(SetBool, "outer", forward, callback_group=ReentrantCallbackGroup())
    assert inner.wait_for_service(timeout_sec=PATIENCE_SEC)
    response = graph.call(node, SetBool, "outer", SetBool.Request(data=True))
    assert (response.success, response.message) == (True, "forwarded")


def test_blocking_call_with_executor_in_another_thread(graph: Graph) -> None:
    node = graph.node()
    graph.executor.remove_node(node)
    node.create_service(SetBool, "switch", answer)
    client = node.create_client(SetBool, "switch")
    executor = MultiThreadedExecutor(num_threads=2, context=graph.context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        assert client.wait_for_service(timeout_sec=PATIENCE_SEC)
        assert client.call(SetBool.Request(data=True)).success
    finally:
        executor.shutdown()
        thread.join(PATIENCE_SEC)
    assert not thread.is_alive()


def test_wrong_types_are_refused(graph: Graph) -> None:
    client = graph.node().create_client(SetBool, "switch")
    with pytest.raises(TypeError):
        client.call_async(Trigger.Request())


def test_services_are_listed(graph: Graph) -> None:
    node = graph.node("server", namespace="/ns")
    node.create_service(SetBool, "~/switch", answer)
    wanted = ("/ns/server/switch", ["std_srvs/srv/SetBool"])
    assert graph.until(lambda: wanted in node.get_service_names_and_types())
    assert graph.until(lambda: wanted in node.get_service_names_and_types_by_node("server", "/ns"))


def test_done_callback(graph: Graph) -> None:
    node = graph.node()
    node.create_service(SetBool, "switch", answer)
    client = node.create_client(SetBool, "switch")
    assert client.wait_for_service(timeout_sec=PATIENCE_SEC)
    seen: list[Any] = []
    client.call_async(SetBool.Request(data=True)).add_done_callback(
        lambda future: seen.append(future.result().success)
    )
    assert graph.until(lambda: seen)
    assert seen == [True]
