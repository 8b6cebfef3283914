# SPDX-License-Identifier: Apache-2.0
"""Events of publishers and subscriptions: incompatible QoS, deadlines, liveliness, matches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from vla_infoentropy_ros.standalone import dds

from .callback_groups import CallbackGroup
from .qos import QoSPolicyKind
from .waitable import Waitable


class UnsupportedEventTypeError(RuntimeError):
    """The middleware does not report this event."""


class QoSPublisherEventType(IntEnum):
    """Events of a publisher."""

    RCL_PUBLISHER_OFFERED_DEADLINE_MISSED = 0
    RCL_PUBLISHER_LIVELINESS_LOST = 1
    RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS = 2
    RCL_PUBLISHER_INCOMPATIBLE_TYPE = 3
    RCL_PUBLISHER_MATCHED = 4


class QoSSubscriptionEventType(IntEnum):
    """Events of a subscription."""

    RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED = 0
    RCL_SUBSCRIPTION_LIVELINESS_CHANGED = 1
    RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS = 2
    RCL_SUBSCRIPTION_MESSAGE_LOST = 3
    RCL_SUBSCRIPTION_INCOMPATIBLE_TYPE = 4
    RCL_SUBSCRIPTION_MATCHED = 5


# DDS numbers of the policies -> ROS
_POLICIES = {
    2: QoSPolicyKind.DURABILITY,
    4: QoSPolicyKind.DEADLINE,
    8: QoSPolicyKind.LIVELINESS,
    11: QoSPolicyKind.RELIABILITY,
    13: QoSPolicyKind.HISTORY,
    21: QoSPolicyKind.LIFESPAN,
}

# Event name -> (status, fields of the status as passed on to the callback)
_PUBLISHER_EVENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "deadline": ("offered_deadline_missed", ("total_count", "total_count_change")),
    "liveliness": ("liveliness_lost", ("total_count", "total_count_change")),
    "incompatible_qos": (
        "offered_incompatible_qos",
        ("total_count", "total_count_change", "last_policy_kind"),
    ),
    "matched": (
        "publication_matched",
        ("total_count", "total_count_change", "current_count", "current_count_change"),
    ),
}
_SUBSCRIPTION_EVENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "deadline": ("requested_deadline_missed", ("total_count", "total_count_change")),
    "liveliness": (
        "liveliness_changed",
        ("alive_count", "alive_count_change", "not_alive_count", "not_alive_count_change"),
    ),
    "incompatible_qos": (
        "requested_incompatible_qos",
        ("total_count", "total_count_change", "last_policy_kind"),
    ),
    "message_lost": ("sample_lost", ("total_count", "total_count_change")),
    "matched": (
        "subscription_matched",
        ("total_count", "total_count_change", "current_count", "current_count_change"),
    ),
}


class EventHandler(Waitable):
    """Watches statuses of one DDS entity and calls functions when they change."""

    def __init__(
        self,
        entity: Any,
        callbacks: dict[str, Callable[[Any], Any]],
        statuses: dict[str, tuple[str, tuple[str, ...]]],
        group: CallbackGroup,
    ) -> None:
        """Enable the statuses that have a callback."""
        super().__init__(group)
        self._entity = entity
        self._callbacks = callbacks
        self._statuses = statuses
        self._alive = True
        self._mask = dds.watch_statuses(entity, [statuses[name][0] for name in callbacks])

    def conditions(self) -> list[Any]:
        """The entity itself triggers when an enabled status changes."""
        return [self._entity] if self._alive else []

    def is_ready(self) -> bool:
        """Whether a status changed."""
        return self._alive and dds.statuses_changed(self._entity, self._mask)

    def take(self) -> list[tuple[Callable[[Any], Any], Any]] | None:
        """Read the statuses that changed."""
        found = []
        for name, callback in self._callbacks.items():
            status_name, fields = self._statuses[name]
            status = dds.take_status(self._entity, status_name)
            values = {field: getattr(status, field, 0) for field in fields}
            if "last_policy_kind" in values:
                values["last_policy_kind"] = _POLICIES.get(
                    int(status.last_policy_id), QoSPolicyKind.INVALID
                )
            if any(value for field, value in values.items() if field.endswith("_change")):
                found.append((callback, SimpleNamespace(**values)))
        return found or None

    def execute(self, taken: Any) -> None:
        """Call the functions."""
        for callback, values in taken:
            callback(values)

    def destroy(self) -> None:
        """Stop watching."""
        self._alive = False


@dataclass
class PublisherEventCallbacks:
    """Functions for the events of a publisher."""

    deadline: Callable[[Any], Any] | None = None
    liveliness: Callable[[Any], Any] | None = None
    incompatible_qos: Callable[[Any], Any] | None = None
    incompatible_type: Callable[[Any], Any] | None = None
    matched: Callable[[Any], Any] | None = None
    use_default_callbacks: bool = True

    def create_event_handlers(
        self, group: CallbackGroup, entity: Any, topic: str, logger: Any
    ) -> list[EventHandler]:
        """Return the handlers for a publisher."""
        callbacks = _given(self, _PUBLISHER_EVENTS)
        if self.use_default_callbacks:
            callbacks.setdefault(
                "incompatible_qos",
                lambda event: logger.warning(
                    f"New subscription discovered on topic '{topic}', requesting incompatible QoS. "
                    f"No messages will be sent to it. Last incompatible policy: "
                    f"{event.last_policy_kind.name}"
                ),
            )
        return [EventHandler(entity, callbacks, _PUBLISHER_EVENTS, group)] if callbacks else []


@dataclass
class SubscriptionEventCallbacks:
    """Functions for the events of a subscription."""

    deadline: Callable[[Any], Any] | None = None
    incompatible_qos: Callable[[Any], Any] | None = None
    incompatible_type: Callable[[Any], Any] | None = None
    liveliness: Callable[[Any], Any] | None = None
    message_lost: Callable[[Any], Any] | None = None
    matched: Callable[[Any], Any] | None = None
    use_default_callbacks: bool = True

    def create_event_handlers(
        self, group: CallbackGroup, entity: Any, topic: str, logger: Any
    ) -> list[EventHandler]:
        """Return the handlers for a subscription."""
        callbacks = _given(self, _SUBSCRIPTION_EVENTS)
        if self.use_default_callbacks:
            callbacks.setdefault(
                "incompatible_qos",
                lambda event: logger.warning(
                    f"New publisher discovered on topic '{topic}', offering incompatible QoS. No "
                    f"messages will be received from it. Last incompatible policy: "
                    f"{event.last_policy_kind.name}"
                ),
            )
        return [EventHandler(entity, callbacks, _SUBSCRIPTION_EVENTS, group)] if callbacks else []


def _given(callbacks: Any, known: dict[str, Any]) -> dict[str, Callable[[Any], Any]]:
    return {name: function for name in known if (function := getattr(callbacks, name)) is not None}
