# SPDX-License-Identifier: Apache-2.0
"""Publishers, subscriptions, services, clients, timers and guard conditions of a node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from vla_infoentropy_ros.standalone.messages import type_name

from ..callback_groups import (
    CallbackGroup,
    MutuallyExclusiveCallbackGroup,
    ReentrantCallbackGroup,
)
from ..client import Client
from ..clock import Clock
from ..constants import S_TO_NS
from ..context import Context
from ..event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from ..guard_condition import GuardCondition
from ..publisher import Publisher
from ..qos import QoSProfile, as_profile, qos_profile_services_default
from ..service import Service
from ..subscription import Subscription
from ..timer import Rate, Timer
from ..waitable import Waitable
from . import names


class NodeEntities:
    """Mixin that creates and deletes what a node communicates with."""

    _context: Context
    _clock: Clock
    _logger: Any
    _name: str
    _namespace: str
    _rule_sets: list[Any]
    _record: Any
    _participant: Any
    _destroyed: bool
    _wake: Callable[[], None]

    def _init_entities(self) -> None:
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._waitables: list[Waitable] = []
        self._entities_lock = threading.RLock()
        self._default_callback_group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()

    @property
    def default_callback_group(self) -> CallbackGroup:
        """Group of callbacks that name no other."""
        return self._default_callback_group

    def _executable_entities(self) -> list[Any]:
        with self._entities_lock:
            return [
                *self._waitables,
                *self._timers,
                *self._subscriptions,
                *self._guards,
                *self._clients,
                *self._services,
            ]

    def _destroy_entities(self) -> None:
        collections: list[list[Any]] = [
            self._publishers,
            self._subscriptions,
            self._clients,
            self._services,
            self._timers,
            self._guards,
            self._waitables,
        ]
        with self._entities_lock:
            entities = [entity for collection in collections[:-1] for entity in collection]
            for collection in collections:
                collection.clear()
        for entity in entities:
            entity.destroy()

    # Endpoints

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """Return the full name of a topic after remapping."""
        return self._resolve(topic, is_service=False, only_expand=only_expand)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """Return the full name of a service after remapping."""
        return self._resolve(service, is_service=True, only_expand=only_expand)

    def _resolve(self, name: str, is_service: bool, only_expand: bool = False) -> str:
        full = names.expand(name, self._name, self._namespace, is_service=is_service)
        if only_expand:
            return full
        for rules in self._rule_sets:
            mapped = rules.remap(full, self._name, self._namespace, is_service)
            if mapped != full:
                return mapped
        return full

    def create_publisher(
        self,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: PublisherEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Any:
        """Create a publisher."""
        profile = as_profile(qos_profile)
        full, wire = self._topic_names(topic, profile)
        writer = self._participant.create_writer(wire, type_name(msg_type), profile.to_endpoint())
        group = callback_group or self._default_callback_group
        publisher = publisher_class(
            writer, msg_type, full, profile, self._context, group, self._logger
        )
        events = event_callbacks or PublisherEventCallbacks()
        publisher.event_handlers = events.create_event_handlers(
            group, writer.entity, full, self._logger
        )
        self._register(self._publishers, publisher, writers=[writer], events=publisher)
        return publisher

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
    ) -> Subscription:
        """Create a subscription."""
        profile = as_profile(qos_profile)
        full, wire = self._topic_names(topic, profile)
        reader = self._participant.create_reader(wire, type_name(msg_type), profile.to_endpoint())
        group = callback_group or self._default_callback_group
        try:
            subscription = Subscription(
                reader, msg_type, full, callback, group, profile, raw, self._logger
            )
        except RuntimeError:
            reader.close()
            raise
        events = event_callbacks or SubscriptionEventCallbacks()
        subscription.event_handlers = events.create_event_handlers(
            group, reader.entity, full, self._logger
        )
        self._register(self._subscriptions, subscription, readers=[reader], events=subscription)
        return subscription

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """Create a service server."""
        full = self.resolve_service_name(srv_name)
        endpoint = qos_profile.to_endpoint(f"serviceid={self._participant.unique_id()};")
        base = type_name(srv_type)
        reader = self._participant.create_reader(
            f"rq{full}Request", f"{base}_Request", endpoint, True
        )
        writer = self._participant.create_writer(
            f"rr{full}Reply", f"{base}_Response", endpoint, True
        )
        service = Service(
            reader,
            writer,
            srv_type,
            full,
            callback,
            callback_group or self._default_callback_group,
            qos_profile,
            self._context,
            self._logger,
        )
        self._register(self._services, service, readers=[reader], writers=[writer])
        return service

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """Create a service client."""
        full = self.resolve_service_name(srv_name)
        endpoint = qos_profile.to_endpoint(f"clientid={self._participant.unique_id()};")
        base = type_name(srv_type)
        reader = self._participant.create_reader(
            f"rr{full}Reply", f"{base}_Response", endpoint, True
        )
        writer = self._participant.create_writer(
            f"rq{full}Request", f"{base}_Request", endpoint, True
        )
        client = Client(
            self._context,
            reader,
            writer,
            srv_type,
            full,
            qos_profile,
            callback_group or self._default_callback_group,
            self._logger,
        )
        self._register(self._clients, client, readers=[reader], writers=[writer])
        return client

    def _topic_names(self, topic: str, profile: QoSProfile) -> tuple[str, str]:
        full = self.resolve_topic_name(topic)
        return full, full if profile.avoid_ros_namespace_conventions else f"rt{full}"

    def _register(
        self,
        collection: list[Any],
        entity: Any,
        *,
        readers: Any = (),
        writers: Any = (),
        events: Any = None,
    ) -> None:
        with self._entities_lock:
            collection.append(entity)
            if events is not None:
                self._waitables.extend(events.event_handlers)
        entity.callback_group.add_entity(entity)
        self._participant.add_endpoints(
            self._record, [item.guid for item in readers], [item.guid for item in writers]
        )
        self._wake()

    # Timers and the rest

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[..., Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """Create a timer, on the clock of the node unless another is given."""
        timer = Timer(
            callback,
            callback_group or self._default_callback_group,
            int(float(timer_period_sec) * S_TO_NS),
            clock or self._clock,
            context=self._context,
            autostart=autostart,
            on_reset=self._wake,
        )
        self._register_local(self._timers, timer)
        return timer

    def create_guard_condition(
        self, callback: Callable[..., Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Create a guard condition."""
        guard = GuardCondition(
            callback, callback_group or self._default_callback_group, context=self._context
        )
        self._register_local(self._guards, guard)
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """Create a rate."""
        if frequency <= 0:
            raise ValueError(f"frequency must be > 0, not {frequency}")
        timer = self.create_timer(1.0 / frequency, lambda: None, self._rate_group, clock)
        return Rate(timer, context=self._context)

    def add_waitable(self, waitable: Waitable) -> None:
        """Let the executor run a waitable."""
        self._register_local(self._waitables, waitable)

    def remove_waitable(self, waitable: Waitable) -> None:
        """Undo :meth:`add_waitable`."""
        with self._entities_lock:
            self._waitables.remove(waitable)
        self._wake()

    def _register_local(self, collection: list[Any], entity: Any) -> None:
        with self._entities_lock:
            collection.append(entity)
        entity.callback_group.add_entity(entity)
        self._wake()

    # Destruction

    def _destroy(self, collection: list[Any], entity: Any, endpoints: tuple[str, ...]) -> bool:
        with self._entities_lock:
            if not any(item is entity for item in collection):
                return False
            collection[:] = [item for item in collection if item is not entity]
            for handler in getattr(entity, "event_handlers", ()):
                self._waitables.remove(handler)
        guids = [getattr(entity, name).guid for name in endpoints]
        if guids and not self._destroyed:
            self._participant.remove_endpoints(self._record, guids)
        entity.destroy()
        self._wake()
        return True

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Delete a publisher."""
        return self._destroy(self._publishers, publisher, ("_writer",))

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Delete a subscription."""
        return self._destroy(self._subscriptions, subscription, ("_reader",))

    def destroy_client(self, client: Client) -> bool:
        """Delete a client."""
        return self._destroy(self._clients, client, ("_reader", "_writer"))

    def destroy_service(self, service: Service) -> bool:
        """Delete a service."""
        return self._destroy(self._services, service, ("_reader", "_writer"))

    def destroy_timer(self, timer: Timer) -> bool:
        """Delete a timer."""
        return self._destroy(self._timers, timer, ())

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        """Delete a guard condition."""
        return self._destroy(self._guards, guard, ())

    def destroy_rate(self, rate: Rate) -> bool:
        """Delete a rate."""
        rate.destroy()
        return self.destroy_timer(rate._timer)

    # Iteration

    @property
    def publishers(self) -> Iterator[Publisher]:
        """Publishers of the node."""
        yield from self._publishers

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Subscriptions of the node."""
        yield from self._subscriptions

    @property
    def clients(self) -> Iterator[Client]:
        """Clients of the node."""
        yield from self._clients

    @property
    def services(self) -> Iterator[Service]:
        """Services of the node."""
        yield from self._services

    @property
    def timers(self) -> Iterator[Timer]:
        """Timers of the node."""
        yield from self._timers

    @property
    def guards(self) -> Iterator[GuardCondition]:
        """Guard conditions of the node."""
        yield from self._guards
