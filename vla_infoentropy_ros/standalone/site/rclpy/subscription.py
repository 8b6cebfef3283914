# SPDX-License-Identifier: Apache-2.0
"""Subscriptions."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from vla_infoentropy_ros.standalone import dds
from vla_infoentropy_ros.standalone.cdr import CdrError
from vla_infoentropy_ros.standalone.messages import deserialize

from .callback_groups import CallbackGroup
from .qos import QoSProfile


class Subscription:
    """Receives messages from a topic; create with :meth:`Node.create_subscription`."""

    class CallbackType(Enum):
        """How many arguments the callback takes."""

        MessageOnly = 0
        WithMessageInfo = 1

    def __init__(
        self,
        reader: dds.Reader,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        raw: bool,
        logger: Any,
    ) -> None:
        """Keep the reader."""
        self._reader = reader
        self._logger = logger
        self.msg_type = msg_type
        self.topic = topic
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        self.raw = raw
        self.callback = callback
        self.event_handlers: list[Any] = []

    @property
    def callback(self) -> Callable[..., Any]:
        """The function that gets each message, and its info if it takes two arguments."""
        return self._callback

    @callback.setter
    def callback(self, value: Callable[..., Any]) -> None:
        self._callback = value
        self._callback_type = Subscription.CallbackType.MessageOnly
        try:
            inspect.signature(value).bind(object())
            return
        except (TypeError, ValueError):
            pass
        try:
            inspect.signature(value).bind(object(), object())
        except (TypeError, ValueError) as error:
            raise RuntimeError(
                "Subscription.__init__(): callback should be either be callable with one "
                "argument (to get only the message) or two (to get message and message info)"
            ) from error
        self._callback_type = Subscription.CallbackType.WithMessageInfo

    @property
    def handle(self) -> dds.Reader:
        """The DDS reader."""
        return self._reader

    @property
    def condition(self) -> Any:
        """What a wait set attaches."""
        return self._reader.condition

    @property
    def topic_name(self) -> str:
        """Full topic name."""
        return self.topic

    def get_publisher_count(self) -> int:
        """Number of publishers that this subscription is matched with."""
        return self._reader.matched_count()

    def is_ready(self) -> bool:
        """Whether a message waits."""
        return self._reader.has_data()

    def take(self) -> tuple[Any, ...] | None:
        """Take a message as arguments of the callback."""
        sample = self._reader.take()
        if sample is None:
            return None
        data, info = sample
        try:
            message = data if self.raw else deserialize(data, self.msg_type)
        except CdrError as error:
            self._logger.error(
                f"Message on {self.topic!r} dropped: {error} Does its publisher "
                "use another version of the type?",
                throttle_duration_sec=5.0,
            )
            return None
        if self._callback_type is Subscription.CallbackType.MessageOnly:
            return (message,)
        return message, {
            "source_timestamp": info.source_timestamp,
            "received_timestamp": time.time_ns(),
            "publication_sequence_number": None,
            "reception_sequence_number": None,
        }

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Take a message and return the callback bound to it."""
        arguments = self.take()
        return None if arguments is None else functools.partial(self._callback, *arguments)

    def destroy(self) -> None:
        """Delete the reader."""
        for handler in self.event_handlers:
            handler.destroy()
        self._reader.close()
