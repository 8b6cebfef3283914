# SPDX-License-Identifier: Apache-2.0
"""What comes over the graph is counted before anything is made of it, and may be none of its kind.

rclpy makes Python objects of a whole message first, and holds the interpreter meanwhile: 600,000
names kept every thread of a node from commanding for 0.6 s. So messages are taken as bytes.
Requests to services cannot be; at least the work begins only where they have few entries: setting
10,000 parameters kept a node from its images, and from a signal, for minutes.

Bytes that are no message of their topic's type, a value of no type, a transition that is none of
the present state's: each raises in the library, and what a callback raises ends its node. So they
are caught here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.serialization import deserialize_message

from vla_infoentropy_ros.foreign.budgets import BudgetError, within
from vla_infoentropy_ros.foreign.text import UserError, one_line
from vla_infoentropy_ros.nodes.messages import type_name

_ENTRIES = ("parameters", "names", "prefixes")  # of rcl_interfaces' requests


class ForeignError(UserError, ValueError):
    """What came over the graph cannot be read, or not be carried out."""


def subscribe(
    node: Any, kind: Any, topic: str, callback: Callable[[Any], None], qos: Any,
    *, budget: str = "message_bytes", dropped: Callable[[str], None] | None = None, **options: Any,
) -> Any:
    """As ``node.create_subscription``; a message beyond ``budget``, or that is none of its type,
    is dropped with a word. dropped: told why."""

    def receive(data: bytes) -> None:
        try:
            within(budget, len(data), f"a message on {topic}")
            message = _unpacked(data, kind, topic)
        except (BudgetError, ForeignError) as error:
            node.get_logger().error(f"dropped: {error}", throttle_duration_sec=2.0)
            if dropped is not None:
                dropped(str(error))
            return
        callback(message)

    return node.create_subscription(kind, topic, receive, qos, raw=True, **options)


def _unpacked(data: bytes, kind: Any, topic: str) -> Any:
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # the library's own, which no module names
        raise ForeignError(
            f"{len(data)} bytes on {topic} are no {type_name(kind)}: build their publisher with "
            "the definition that this node has"
        ) from error


def answering(
    node: Any, name: str, callback: Callable[[Any, Any], Any], refused: Callable[[str], None]
) -> Callable[[Any, Any], Any]:
    """The callback of one of rclpy's own services, which answers by a refusal where a request has
    too many entries, or the library raises over it.

    refused: told why, where parameters were to be changed.
    """

    def answer(request: Any, response: Any) -> Any:
        entries = sum(len(getattr(request, field, ())) for field in _ENTRIES)
        try:
            within("request_entries", entries, f"a request to {name}")
            return _answered(callback, request, response, name)
        except (BudgetError, ForeignError) as error:
            node.get_logger().error(f"refused: {error}", throttle_duration_sec=2.0)
            if hasattr(request, "parameters"):
                refused(str(error))
            result = SetParametersResult(successful=False, reason=str(error))
            if hasattr(response, "results"):
                response.results = [result] * entries
            elif isinstance(getattr(response, "result", None), SetParametersResult):
                response.result = result
            return response

    return answer


def _answered(callback: Callable[[Any, Any], Any], request: Any, response: Any, name: str) -> Any:
    try:
        return callback(request, response)
    except Exception as error:  # the library's own, which no module names
        cause = one_line(str(error).partition(", at /")[0])  # a line of its own code
        raise ForeignError(
            f"a request to {name} cannot be carried out ({cause}): ask for what `ros2 param "
            "describe` and `ros2 lifecycle list` tell of this node"
        ) from error
