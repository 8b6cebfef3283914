# SPDX-License-Identifier: Apache-2.0
"""States and transitions of a managed node, as defined for all ROS 2 client libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from lifecycle_msgs.msg import State, Transition

from .._rclpy_pybind11 import RCLError


class TransitionCallbackReturn(Enum):
    """What a transition callback returns."""

    SUCCESS = Transition.TRANSITION_CALLBACK_SUCCESS
    FAILURE = Transition.TRANSITION_CALLBACK_FAILURE
    ERROR = Transition.TRANSITION_CALLBACK_ERROR

    def to_label(self) -> str:
        """Label of the transition that follows."""
        return f"transition_{self.name.lower()}"


class LifecycleState(NamedTuple):
    """A state, as passed to transition callbacks."""

    label: str
    state_id: int


@dataclass(frozen=True)
class Edge:
    """One transition between two states, all by name or number."""

    id: int
    label: str
    start: str
    goal: str


STATES = {
    "unknown": State.PRIMARY_STATE_UNKNOWN,
    "unconfigured": State.PRIMARY_STATE_UNCONFIGURED,
    "inactive": State.PRIMARY_STATE_INACTIVE,
    "active": State.PRIMARY_STATE_ACTIVE,
    "finalized": State.PRIMARY_STATE_FINALIZED,
    "configuring": State.TRANSITION_STATE_CONFIGURING,
    "cleaningup": State.TRANSITION_STATE_CLEANINGUP,
    "shuttingdown": State.TRANSITION_STATE_SHUTTINGDOWN,
    "activating": State.TRANSITION_STATE_ACTIVATING,
    "deactivating": State.TRANSITION_STATE_DEACTIVATING,
    "errorprocessing": State.TRANSITION_STATE_ERRORPROCESSING,
}


def _edges() -> list[Edge]:
    """Each request leads to a state in which the callback runs; its result leads on."""
    requests = [
        # label, id, start, state of the callback
        ("configure", Transition.TRANSITION_CONFIGURE, "unconfigured", "configuring"),
        ("cleanup", Transition.TRANSITION_CLEANUP, "inactive", "cleaningup"),
        ("activate", Transition.TRANSITION_ACTIVATE, "inactive", "activating"),
        ("deactivate", Transition.TRANSITION_DEACTIVATE, "active", "deactivating"),
        (
            "shutdown",
            Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
            "unconfigured",
            "shuttingdown",
        ),
        ("shutdown", Transition.TRANSITION_INACTIVE_SHUTDOWN, "inactive", "shuttingdown"),
        ("shutdown", Transition.TRANSITION_ACTIVE_SHUTDOWN, "active", "shuttingdown"),
    ]
    results = [
        # state of the callback, id of its success, then success, failure and error lead to
        ("configuring", 10, "inactive", "unconfigured", "errorprocessing"),
        ("cleaningup", 20, "unconfigured", "inactive", "errorprocessing"),
        ("activating", 30, "active", "inactive", "errorprocessing"),
        ("deactivating", 40, "inactive", "active", "errorprocessing"),
        ("shuttingdown", 50, "finalized", "finalized", "errorprocessing"),
        ("errorprocessing", 60, "unconfigured", "finalized", "finalized"),
    ]
    edges = [Edge(number, label, start, goal) for label, number, start, goal in requests]
    for start, number, *goals in results:
        for offset, (outcome, goal) in enumerate(
            zip(("success", "failure", "error"), goals, strict=True)
        ):
            edges.append(Edge(number + offset, f"transition_{outcome}", start, goal))
    return edges


EDGES = _edges()


class StateMachine:
    """The current state, and the transitions that leave it."""

    def __init__(self, notify: Callable[[Edge], None]) -> None:
        """Start unconfigured; ``notify`` hears of every transition."""
        self._current = "unconfigured"
        self._notify = notify

    @property
    def current(self) -> LifecycleState:
        """Current state."""
        return LifecycleState(self._current, STATES[self._current])

    @property
    def available(self) -> list[Edge]:
        """Transitions that leave the current state."""
        return [edge for edge in EDGES if edge.start == self._current]

    def find(self, label: str) -> Edge | None:
        """Transition with that label from the current state."""
        return next((edge for edge in self.available if edge.label == label), None)

    def trigger_id(self, number: int) -> None:
        """Make the transition with that number."""
        self._trigger(next((edge for edge in self.available if edge.id == number), None), number)

    def trigger_label(self, label: str) -> None:
        """Make the transition with that label."""
        self._trigger(self.find(label), label)

    def _trigger(self, edge: Edge | None, wanted: object) -> None:
        if edge is None:
            names = ", ".join(f"{item.label} ({item.id})" for item in self.available) or "none"
            raise RCLError(
                f"Failed to trigger lifecycle state machine transition {wanted!r}: not possible "
                f"in state {self._current}. Possible: {names}"
            )
        self._current = edge.goal
        self._notify(edge)
