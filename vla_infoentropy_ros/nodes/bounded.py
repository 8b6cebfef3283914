# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that look at a message's size before anything is made of it.

rclpy makes Python objects of a whole message first, and holds the interpreter meanwhile: 600,000
names kept every thread of a node from commanding for 0.6 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.serialization import deserialize_message

from vla_infoentropy_ros.foreign.budgets import BudgetError, within


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
