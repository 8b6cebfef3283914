# SPDX-License-Identifier: Apache-2.0
"""Managed nodes."""

from __future__ import annotations

from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import (
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String

from .conftest import Graph

SUCCESS = TransitionCallbackReturn.SUCCESS


class Managed(LifecycleNode):
    """Records its transitions; ``plan`` says how they end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.log: list[tuple[str, str]] = []
        self.plan: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def _end(self, name: str, state: LifecycleState) -> TransitionCallbackReturn:
        self.log.append((name, state.label))
        outcome = self.plan.get(name, SUCCESS)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is SUCCESS:
            return getattr(super(), f"on_{name}")(state)
        return outcome

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("configure", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("deactivate", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("shutdown", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._end("error", state)


class Operator:
    """Calls the services of a managed node."""

    def __init__(self, graph: Graph, target: str = "managed") -> None:
        self.graph, self.target = graph, target
        self.node = graph.node("operator")

    def change(self, transition: int = 0, label: str = "") -> bool:
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        return self.graph.call(
            self.node, ChangeState, f"{self.target}/change_state", request
        ).success

    @property
    def state(self) -> str:
        response = self.graph.call(
            self.node, GetState, f"{self.target}/get_state", GetState.Request()
        )
        return response.current_state.label


def test_whole_life(graph: Graph) -> None:
    node, operator = graph.node("managed", Managed), Operator(graph)
    assert operator.state == "unconfigured"
    for transition, state in (
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, "finalized"),
    ):
        assert operator.change(transition)
        assert operator.state == state
    assert node.log == [
        ("configure", "unconfigured"),
        ("activate", "inactive"),
        ("deactivate", "active"),
        ("cleanup", "inactive"),
        ("shutdown", "unconfigured"),
    ]


def test_by_label(graph: Graph) -> None:
    graph.node("managed", Managed)
    operator = Operator(graph)
    assert operator.change(label="configure")
    assert not operator.change(label="cleanup_everything")
    assert operator.change(label="shutdown")
    assert operator.state == "finalized"


@pytest.mark.parametrize(
    ("outcome", "after_error", "state"),
    [
        (TransitionCallbackReturn.FAILURE, SUCCESS, "unconfigured"),
        (TransitionCallbackReturn.ERROR, SUCCESS, "unconfigured"),
        (TransitionCallbackReturn.ERROR, TransitionCallbackReturn.FAILURE, "finalized"),
        (RuntimeError("broken"), SUCCESS, "unconfigured"),
        (RuntimeError("broken"), RuntimeError("too"), "finalized"),
    ],
)
def test_configure_does_not_succeed(
    graph: Graph, outcome: Any, after_error: Any, state: str
) -> None:
    node, operator = graph.node("managed", Managed), Operator(graph)
    node.plan = {"configure": outcome, "error": after_error}
    assert not operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.state == state
    failed = outcome is TransitionCallbackReturn.FAILURE
    assert [name for name, _ in node.log] == ["configure"] + ([] if failed else ["error"])


@pytest.mark.parametrize(
    ("failing", "state"),
    [("deactivate", "active"), ("activate", "inactive"), ("cleanup", "inactive")],
)
def test_failure_stays_where_it_was(graph: Graph, failing: str, state: str) -> None:
    node = graph.node("managed", Managed)
    node.plan = {failing: TransitionCallbackReturn.FAILURE}
    node.trigger_configure()
    if failing == "cleanup":
        assert node.trigger_cleanup() is TransitionCallbackReturn.FAILURE
    else:
        node.trigger_activate()
        if failing == "deactivate":
            assert node.trigger_deactivate() is TransitionCallbackReturn.FAILURE
    assert Operator(graph).state == state


def test_triggers_from_within(graph: Graph) -> None:
    node = graph.node("managed", Managed)
    assert node.trigger_configure() is SUCCESS
    assert node.trigger_activate() is SUCCESS
    assert node.trigger_shutdown() is SUCCESS
    with pytest.raises(Exception, match=r"(?i)transit"):
        node.trigger_activate()


def test_lifecycle_publisher_is_silent_unless_active(graph: Graph) -> None:
    node, listener = graph.node("managed", Managed), graph.node("listener")
    received: list[str] = []
    listener.create_subscription(String, "out", lambda m: received.append(m.data), 10)
    publisher = node.create_lifecycle_publisher(String, "out", 10)
    graph.match(publisher)
    node.trigger_configure()
    publisher.publish(String(data="inactive"))
    assert not publisher.is_activated
    node.trigger_activate()
    publisher.publish(String(data="active"))
    assert publisher.is_activated
    assert graph.until(lambda: received)
    node.trigger_deactivate()
    publisher.publish(String(data="inactive again"))
    node.trigger_activate()
    publisher.publish(String(data="last"))
    assert graph.until(lambda: "last" in received)
    assert received == ["active", "last"]
    assert node.destroy_lifecycle_publisher(publisher)


def test_transition_events(graph: Graph) -> None:
    node, listener = graph.node("managed", Managed), graph.node("listener")
    events: list[tuple[str, str]] = []
    listener.create_subscription(
        TransitionEvent,
        "managed/transition_event",
        lambda event: events.append((event.start_state.label, event.goal_state.label)),
        10,
    )
    assert graph.until(lambda: listener.count_publishers("managed/transition_event"))
    graph.spin(0.2)
    node.trigger_configure()
    assert graph.until(lambda: len(events) == 2)
    assert events == [("unconfigured", "configuring"), ("configuring", "inactive")]


def test_descriptions(graph: Graph) -> None:
    graph.node("managed", Managed)
    operator = Operator(graph)

    def call(srv_type: Any, name: str) -> Any:
        return graph.call(operator.node, srv_type, f"managed/{name}", srv_type.Request())

    states = call(GetAvailableStates, "get_available_states").available_states
    assert {state.label: state.id for state in states} == {
        "unknown": 0,
        "unconfigured": 1,
        "inactive": 2,
        "active": 3,
        "finalized": 4,
        "configuring": 10,
        "cleaningup": 11,
        "shuttingdown": 12,
        "activating": 13,
        "deactivating": 14,
        "errorprocessing": 15,
    }
    name = "get_available_transitions"
    possible = call(GetAvailableTransitions, name).available_transitions
    assert {(item.transition.label, item.goal_state.label) for item in possible} == {
        ("configure", "configuring"),
        ("shutdown", "shuttingdown"),
    }
    transitions = call(GetAvailableTransitions, "get_transition_graph").available_transitions
    assert len(transitions) == 25
    edges = {
        (item.start_state.label, item.transition.label, item.goal_state.label)
        for item in transitions
    }
    assert ("errorprocessing", "transition_success", "unconfigured") in edges
    assert ("deactivating", "transition_failure", "active") in edges
    assert ("shuttingdown", "transition_failure", "finalized") in edges


def test_without_services(graph: Graph) -> None:
    # A name of its own: the services of an earlier node may still be on the graph.
    node = graph.node("unattended", Managed, enable_communication_interface=False)
    assert node.trigger_configure() is SUCCESS
    names = [name for name, _ in node.get_service_names_and_types()]
    assert "/unattended/change_state" not in names


def test_ids() -> None:
    assert State.PRIMARY_STATE_ACTIVE == 3
    assert Transition.TRANSITION_CALLBACK_ERROR == 99
