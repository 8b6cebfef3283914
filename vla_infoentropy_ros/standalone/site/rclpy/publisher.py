# SPDX-License-Identifier: Apache-2.0
"""Publishers."""

from __future__ import annotations

import time
from typing import Any

from vla_infoentropy_ros.standalone import dds
from vla_infoentropy_ros.standalone.messages import serialize

from ._rclpy_pybind11 import InvalidHandle, RCLError
from .callback_groups import CallbackGroup
from .context import Context
from .duration import Duration
from .qos import QoSProfile


class Publisher:
    """Sends messages to a topic; create with :meth:`Node.create_publisher`."""

    def __init__(
        self,
        writer: dds.Writer,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile,
        context: Context,
        callback_group: CallbackGroup,
        logger: Any,
    ) -> None:
        """Keep the writer."""
        self._writer = writer
        self._context = context
        self._logger = logger
        self._alive = True
        self.msg_type = msg_type
        self.topic = topic
        self.qos_profile = qos_profile
        self.callback_group = callback_group
        self.event_handlers: list[Any] = []

    @property
    def handle(self) -> dds.Writer:
        """The DDS writer."""
        return self._writer

    @property
    def topic_name(self) -> str:
        """Full topic name."""
        return self.topic

    def publish(self, msg: Any) -> None:
        """Send a message, or bytes that are serialised already."""
        if isinstance(msg, bytes):
            data = msg
        elif isinstance(msg, self.msg_type):
            data = serialize(msg)
        else:
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        if not self._alive:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        if not self._context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        try:
            self._writer.write(data)
        except TimeoutError as error:
            # ROS blocks here without limit. A control loop must not: say it and carry on.
            self._logger.warning(f"Message dropped. {error}", throttle_duration_sec=1.0)

    def get_subscription_count(self) -> int:
        """Number of subscriptions that this publisher is matched with."""
        return len(self._writer.entity.get_matched_subscriptions())

    def assert_liveliness(self) -> None:
        """Tell that the publisher is alive (liveliness MANUAL_BY_TOPIC)."""
        self._writer.assert_liveliness()

    def wait_for_all_acked(self, timeout: Duration = Duration(nanoseconds=-1)) -> bool:  # noqa: B008
        """Wait until all reliable subscriptions have everything that was sent."""
        limit = None if timeout.nanoseconds < 0 else time.monotonic() + timeout.nanoseconds / 1e9
        while True:
            left = 0.05 if limit is None else min(0.05, max(0.0, limit - time.monotonic()))
            if self._writer.wait_for_acks(int(left * 1e9)):
                return True
            if limit is not None and time.monotonic() >= limit:
                return False

    def destroy(self) -> None:
        """Delete the writer."""
        self._alive = False
        for handler in self.event_handlers:
            handler.destroy()
        self._writer.close()
