# SPDX-License-Identifier: Apache-2.0
"""Nodes."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import Log, ParameterEvent

from .clock import Clock, ROSClock
from .context import Context
from .duration import Duration
from .exceptions import NotInitializedException
from .impl import names, rcutils_logger
from .impl.arguments import RosArguments, parse
from .impl.entities import NodeEntities
from .impl.graph import NodeGraph
from .impl.parameters import NodeParameters
from .logging import get_logger
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import DurabilityPolicy, QoSProfile, qos_profile_parameter_events
from .time import Time
from .time_source import TimeSource
from .utilities import get_default_context

_ROSOUT = QoSProfile(
    depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=Duration(seconds=10)
)
NodeNameNonExistentError = type("NodeNameNonExistentError", (RuntimeError,), {})


class Node(NodeEntities, NodeParameters, NodeGraph):
    """A named participant in the ROS graph."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        """Join the graph."""
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        names.check_node_name(node_name)
        # Arguments of the node go before those of the process: the first match wins.
        self._rule_sets: list[RosArguments] = []
        if cli_args:
            self._rule_sets.append(parse(list(cli_args)))
        if use_global_arguments:
            self._rule_sets.append(self._context.arguments)
        self._name, chosen = self._remapped_name(node_name, namespace)
        names.check_node_name(self._name)
        self._namespace = names.full_namespace(chosen)

        self._init_entities()
        self._destroyed = False
        self._executor_reference: Any = None
        self._logger = get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        self._record = self._participant.add_node(self._name, self._namespace)
        self._rosout: Publisher | None = None
        if enable_rosout and self._context.arguments.rosout:
            self._rosout = self.create_publisher(Log, "/rosout", _ROSOUT)
            rcutils_logger.add_sink(self._logger.name, self._publish_log)

        self._init_parameters(allow_undeclared_parameters)
        self._parameter_event_publisher = self.create_publisher(
            ParameterEvent, "/parameter_events", qos_profile_parameter_events
        )
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

    def _publish_log(
        self, severity: Any, name: str, message: str, where: tuple[str, str, int], now: int
    ) -> None:
        if self._rosout is None or self._destroyed or not self._context.ok():
            return
        stamp = Time(nanoseconds=now).to_msg()
        self._rosout.publish(
            Log(
                stamp=stamp,
                level=int(severity),
                name=name,
                msg=message,
                file=where[0],
                function=where[1],
                line=where[2],
            )
        )

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
        self._destroy_entities()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: Any) -> None:
        self.destroy_node()
