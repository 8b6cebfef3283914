# SPDX-License-Identifier: Apache-2.0
"""One suite for whichever rclpy imports: a sourced ROS 2, or the standalone one.

The tests use the public interface of rclpy only. What passes on both is what nodes may rely on.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vla_infoentropy_ros.standalone import ensure_rclpy

IMPLEMENTATION = ensure_rclpy()

import rclpy  # noqa: E402 - only importable now
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402

# Limits for things that should happen; generous, because machines that run tests are busy.
PATIENCE_SEC = 10.0


class Graph:
    """A context in a random domain, with nodes that are spun together in the test's thread."""

    def __init__(self) -> None:
        self.domain_id = random.SystemRandom().randint(1, 200)
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=self.domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Node] = []

    def node(self, name: str = "node", cls: Any = Node, **kwargs: Any) -> Any:
        """Create a node and serve it."""
        node = cls(name, context=self.context, **kwargs)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def spin(self, seconds: float) -> None:
        """Run callbacks for a time."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.executor.spin_once(timeout_sec=0.01)

    def until(self, condition: Callable[[], Any], timeout: float = PATIENCE_SEC) -> bool:
        """Run callbacks until a condition holds; False when it does not in time."""
        limit = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > limit:
                return False
            self.executor.spin_once(timeout_sec=0.01)
        return True

    def result(self, future: Any) -> Any:
        """Run callbacks until a future is done, and return its result."""
        assert self.until(future.done), "the future was not done in time"
        return future.result()

    def call(self, node: Node, srv_type: Any, name: str, request: Any) -> Any:
        """Call a service."""
        client = node.create_client(srv_type, name)
        assert client.wait_for_service(timeout_sec=PATIENCE_SEC), f"no service {name}"
        response = self.result(client.call_async(request))
        node.destroy_client(client)
        return response

    def match(self, publisher: Any, count: int = 1) -> None:
        """Wait until a publisher has subscriptions."""
        assert self.until(lambda: publisher.get_subscription_count() == count)
        self.spin(0.05)  # the other side of the match

    def close(self) -> None:
        """Delete everything."""
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def graph() -> Iterator[Graph]:
    """A context with an executor, for one test."""
    os.environ.setdefault("RCUTILS_LOGGING_BUFFERED_STREAM", "0")
    built = Graph()
    yield built
    built.close()
