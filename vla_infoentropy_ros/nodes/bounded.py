# SPDX-License-Identifier: Apache-2.0
"""What comes over the graph is counted before anything is made of it.

rclpy makes Python objects of a whole message first, and holds the interpreter meanwhile: 600,000
names kept every thread of a node from commanding for 0.6 s. So messages are taken as bytes.
Requests to services cannot be; at least the work begins only where they have few entries: setting
10,000 parameters kept a node from its images, and from a signal, for minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.serialization import deserialize_message

from vla_infoentropy_ros.foreign.budgets import BudgetError, within

_ENTRIES = ("parameters", "names", "prefixes")  # of rcl_interfaces' requests


def subscribe(
    node: Any, kind: Any, topic: str, callback: Callable[[Any], None], qos: Any,
    *, budget: str = "message_bytes", **options: Any,
) -> Any:
    """As ``node.create_subscription``; a message beyond ``budget`` is dropped with a word."""

    def receive(data: bytes) -> None:
        try:
            within(budget, len(data), f"a message on {topic}")
        except BudgetError as error:
            node.get_logger().error(f"dropped: {error}", throttle_duration_sec=2.0)
            return
        callback(deserialize_message(data, kind))

    return node.create_subscription(kind, topic, receive, qos, raw=True, **options)


def answering(
    node: Any, name: str, callback: Callable[[Any, Any], Any], refused: Callable[[str], None]
) -> Callable[[Any, Any], Any]:
    """A service's callback that answers a request of too many entries by a refusal.

    refused: told why, where parameters were to be changed.
    """

    def answer(request: Any, response: Any) -> Any:
        entries = sum(len(getattr(request, field, ())) for field in _ENTRIES)
        try:
            within("request_entries", entries, f"a request to {name}")
        except BudgetError as error:
            node.get_logger().error(f"refused: {error}", throttle_duration_sec=2.0)
            if hasattr(request, "parameters"):
                refused(str(error))
            result = SetParametersResult(successful=False, reason=str(error))
            if hasattr(response, "results"):
                response.results = [result] * entries
            elif isinstance(getattr(response, "result", None), SetParametersResult):
                response.result = result
            return response
        return callback(request, response)

    return answer
