# SPDX-License-Identifier: Apache-2.0
"""Nodes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from rcl_interfaces.msg import Log, ParameterEvent

from vla_infoentropy_ros.standalone.messages import type_name

from .callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from .client import Client
from .clock import Clock, ROSClock
from .constants import S_TO_NS
from .context import Context
from .event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from .exceptions import NotInitializedException
from .guard_condition import GuardCondition
from .impl import names, rcutils_logger
from .impl.arguments import RosArguments, parse
from .impl.graph import NodeGraph
from .impl.parameters import NodeParameters
from .logging import get_logger
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import (
    QoSProfile,
    as_profile,
    qos_profile_parameter_events,
    qos_profile_rosout_default,
    qos_profile_services_default,
)
from .service import Service
from .subscription import Subscription
from .time import Time
from .time_source import TimeSource
from .timer import Rate, Timer
from .utilities import get_default_context
from .waitable import Waitable

NodeNameNonExistentError = type("NodeNameNonExistentError", (RuntimeError,), {})


class Node(NodeParameters, NodeGraph):
    """A named participant in the ROS graph."""

    def __init__(self, node_name: str, *, context: Context | None = None,
                 cli_args: list[str] | None = None, namespace: str | None = None,
                 use_global_arguments: bool = True, enable_rosout: bool = True,
                 start_parameter_services: bool = True,
                 parameter_overrides: list[Parameter] | None = None,
                 allow_undeclared_parameters: bool = False,
                 automatically_declare_parameters_from_overrides: bool = False,
                 enable_logger_service: bool = False) -> None:  # fmt: skip
        """Join the graph."""
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        names.check_node_name(node_name)
        # Arguments of the node go before those of the process: the first match wins.
        self._rule_sets: list[RosArguments] = []
        if cli_args:
            self._rule_sets.append(parse(["--ros-args", *cli_args]))
        if use_global_arguments:
            self._rule_sets.append(self._context.arguments)
        self._name, chosen = self._remapped_name(node_name, namespace)
        names.check_node_name(self._name)
        self._namespace = names.full_namespace(chosen)

        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._waitables: list[Waitable] = []
        self._entities_lock = threading.RLock()
        self._destroyed = False
        self._executor_reference: Any = None
        self._default_callback_group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()
        self._logger = get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        self._record = self._participant.add_node(self._name, self._namespace)
        self._rosout: Publisher | None = None
        if enable_rosout and self._context.arguments.rosout:
            self._rosout = self.create_publisher(Log, "/rosout", qos_profile_rosout_default)
            rcutils_logger.add_sink(self._logger.name, self._publish_log)

        self._init_parameters(allow_undeclared_parameters)
        self._parameter_event_publisher = self.create_publisher(
            ParameterEvent, "/parameter_events", qos_profile_parameter_events)
        self._parameter_overrides = self._collect_overrides(parameter_overrides or [])
        if automatically_declare_parameters_from_overrides:
            for name, parameter in self._parameter_overrides.items():
                self.declare_parameter(name, parameter.value, ignore_override=True)
        self._time_source = TimeSource(node=self)
        self._time_source.attach_clock(self._clock)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)

    def _remapped_name(self, name: str, namespace: str | None) -> tuple[str, str | None]:
        for rules in self._rule_sets:
            new_namespace = rules.node_namespace(name)
            if new_namespace is not None:
                namespace = new_namespace
                break
        for rules in self._rule_sets:
            new_name = rules.node_name(name)
            if new_name != name:
                return new_name, namespace
        return name, namespace

    def _collect_overrides(self, given: list[Parameter]) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for rules in reversed(self._rule_sets):
            for name, value in rules.parameters_for(self._name, self._namespace).items():
                found[name] = Parameter(name, value=value)
        return found | {parameter.name: parameter for parameter in given}

    def _publish_log(self, severity: Any, name: str, message: str, where: tuple[str, str, int],
                     now: int) -> None:  # fmt: skip
        if self._rosout is None or self._destroyed or not self._context.ok():
            return
        stamp = Time(nanoseconds=now).to_msg()
        self._rosout.publish(Log(stamp=stamp, level=int(severity), name=name, msg=message,
                                 file=where[0], function=where[1], line=where[2]))  # fmt: skip

    # Identity

    @property
    def _participant(self) -> Any:
        return self._context.participant

    @property
    def context(self) -> Context:
        """The context that the node lives in."""
        return self._context

    @property
    def handle(self) -> Node:
        """The node itself; there is no compiled part."""
        return self

    @property
    def default_callback_group(self) -> CallbackGroup:
        """Group of callbacks that name no other."""
        return self._default_callback_group

    def get_name(self) -> str:
        """Return the name."""
        return self._name

    def get_namespace(self) -> str:
        """Return the namespace, which starts with a slash."""
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        """Return namespace and name."""
        return names.join(self._namespace, self._name)

    def get_logger(self) -> rcutils_logger.RcutilsLogger:
        """Return the logger."""
        return self._logger

    def get_clock(self) -> Clock:
        """Return the clock, which follows /clock with ``use_sim_time``."""
        return self._clock

    # Executor

    @property
    def executor(self) -> Any:
        """The executor that serves the node, if any."""
        return None if self._executor_reference is None else self._executor_reference()

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        if new_executor is None:
            self._executor_reference = None
            return
        self._executor_reference = weakref.ref(new_executor)
        new_executor.add_node(self)

    def _forget_executor(self, executor: Any) -> None:
        if self.executor is executor:
            self._executor_reference = None

    def _wake(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _executable_entities(self) -> list[Any]:
        with self._entities_lock:
            return [*self._waitables, *self._timers, *self._subscriptions, *self._guards,
                    *self._clients, *self._services]  # fmt: skip

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

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: QoSProfile | int, *,
                         callback_group: CallbackGroup | None = None,
                         event_callbacks: PublisherEventCallbacks | None = None,
                         qos_overriding_options: Any = None,
                         publisher_class: type[Publisher] = Publisher) -> Any:  # fmt: skip
        """Create a publisher."""
        profile = as_profile(qos_profile)
        full, wire = self._topic_names(topic, profile)
        writer = self._participant.create_writer(wire, type_name(msg_type), profile.to_endpoint())
        group = callback_group or self._default_callback_group
        publisher = publisher_class(writer, msg_type, full, profile, self._context, group,
                                    self._logger)  # fmt: skip
        events = event_callbacks or PublisherEventCallbacks()
        publisher.event_handlers = events.create_event_handlers(
            group, writer.entity, full, self._logger)
        self._register(self._publishers, publisher, writers=[writer], events=publisher)
        return publisher

    def create_subscription(self, msg_type: Any, topic: str, callback: Callable[..., Any],
                            qos_profile: QoSProfile | int, *,
                            callback_group: CallbackGroup | None = None,
                            event_callbacks: SubscriptionEventCallbacks | None = None,
                            qos_overriding_options: Any = None,
                            raw: bool = False) -> Subscription:  # fmt: skip
        """Create a subscription."""
        profile = as_profile(qos_profile)
        full, wire = self._topic_names(topic, profile)
        reader = self._participant.create_reader(wire, type_name(msg_type), profile.to_endpoint())
        group = callback_group or self._default_callback_group
        try:
            subscription = Subscription(reader, msg_type, full, callback, group, profile, raw,
                                        self._logger)  # fmt: skip
        except RuntimeError:
            reader.close()
            raise
        events = event_callbacks or SubscriptionEventCallbacks()
        subscription.event_handlers = events.create_event_handlers(
            group, reader.entity, full, self._logger)
        self._register(self._subscriptions, subscription, readers=[reader], events=subscription)
        return subscription

    def create_service(self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any], *,
                       qos_profile: QoSProfile = qos_profile_services_default,
                       callback_group: CallbackGroup | None = None) -> Service:  # fmt: skip
        """Create a service server."""
        full = self.resolve_service_name(srv_name)
        endpoint = qos_profile.to_endpoint(f"serviceid={self._participant.unique_id()};")
        base = type_name(srv_type)
        reader = self._participant.create_reader(
            f"rq{full}Request", f"{base}_Request", endpoint, True)
        writer = self._participant.create_writer(
            f"rr{full}Reply", f"{base}_Response", endpoint, True)
        service = Service(reader, writer, srv_type, full, callback,
                          callback_group or self._default_callback_group, qos_profile,
                          self._context, self._logger)  # fmt: skip
        self._register(self._services, service, readers=[reader], writers=[writer])
        return service

    def create_client(self, srv_type: Any, srv_name: str, *,
                      qos_profile: QoSProfile = qos_profile_services_default,
                      callback_group: CallbackGroup | None = None) -> Client:  # fmt: skip
        """Create a service client."""
        full = self.resolve_service_name(srv_name)
        endpoint = qos_profile.to_endpoint(f"clientid={self._participant.unique_id()};")
        base = type_name(srv_type)
        reader = self._participant.create_reader(
            f"rr{full}Reply", f"{base}_Response", endpoint, True)
        writer = self._participant.create_writer(
            f"rq{full}Request", f"{base}_Request", endpoint, True)
        client = Client(self._context, reader, writer, srv_type, full, qos_profile,
                        callback_group or self._default_callback_group, self._logger)  # fmt: skip
        self._register(self._clients, client, readers=[reader], writers=[writer])
        return client

    def _topic_names(self, topic: str, profile: QoSProfile) -> tuple[str, str]:
        full = self.resolve_topic_name(topic)
        return full, full if profile.avoid_ros_namespace_conventions else f"rt{full}"

    def _register(self, collection: list[Any], entity: Any, *, readers: Any = (),
                  writers: Any = (), events: Any = None) -> None:  # fmt: skip
        with self._entities_lock:
            collection.append(entity)
            if events is not None:
                self._waitables.extend(events.event_handlers)
        entity.callback_group.add_entity(entity)
        self._participant.add_endpoints(
            self._record, [item.guid for item in readers], [item.guid for item in writers])
        self._wake()

    # Timers and the rest

    def create_timer(self, timer_period_sec: float, callback: Callable[..., Any],
                     callback_group: CallbackGroup | None = None, clock: Clock | None = None,
                     autostart: bool = True) -> Timer:  # fmt: skip
        """Create a timer, on the clock of the node unless another is given."""
        timer = Timer(callback, callback_group or self._default_callback_group,
                      int(float(timer_period_sec) * S_TO_NS), clock or self._clock,
                      context=self._context, autostart=autostart, on_reset=self._wake)  # fmt: skip
        self._register_local(self._timers, timer)
        return timer

    def create_guard_condition(self, callback: Callable[..., Any],
                               callback_group: CallbackGroup | None = None) -> GuardCondition:  # fmt: skip
        """Create a guard condition."""
        guard = GuardCondition(callback, callback_group or self._default_callback_group,
                               context=self._context)  # fmt: skip
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

    def destroy_node(self) -> None:
        """Leave the graph."""
        if self._destroyed:
            return
        self._destroyed = True
        rcutils_logger.remove_sink(self._logger.name, self._publish_log)
        executor = self.executor
        if executor is not None:
            executor.remove_node(self)
        self._participant.remove_node(self._record)
        with self._entities_lock:
            entities = [*self._publishers, *self._subscriptions, *self._clients, *self._services,
                        *self._timers, *self._guards]  # fmt: skip
            for collection in (self._publishers, self._subscriptions, self._clients,
                               self._services, self._timers, self._guards, self._waitables):  # fmt: skip
                collection.clear()  # type: ignore[attr-defined]
        for entity in entities:
            entity.destroy()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: Any) -> None:
        self.destroy_node()

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

