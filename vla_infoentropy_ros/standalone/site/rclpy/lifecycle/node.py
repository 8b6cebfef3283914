# SPDX-License-Identifier: Apache-2.0
"""Managed nodes."""

from __future__ import annotations

from typing import Any

import lifecycle_msgs.msg
import lifecycle_msgs.srv
from lifecycle_msgs.msg import State, Transition

from .._rclpy_pybind11 import RCLError
from ..callback_groups import CallbackGroup
from ..node import Node
from .managed_entity import ManagedEntity
from .publisher import LifecyclePublisher
from .state_machine import (
    EDGES,
    STATES,
    Edge,
    LifecycleState,
    StateMachine,
    TransitionCallbackReturn,
)

_CALLBACKS = {
    State.TRANSITION_STATE_CONFIGURING: "on_configure",
    State.TRANSITION_STATE_CLEANINGUP: "on_cleanup",
    State.TRANSITION_STATE_SHUTTINGDOWN: "on_shutdown",
    State.TRANSITION_STATE_ACTIVATING: "on_activate",
    State.TRANSITION_STATE_DEACTIVATING: "on_deactivate",
    State.TRANSITION_STATE_ERRORPROCESSING: "on_error",
}


class LifecycleNodeMixin(ManagedEntity):
    """What a managed node has beyond a node."""

    def __init__(
        self,
        *,
        enable_communication_interface: bool = True,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        """Start unconfigured, and offer the services unless told otherwise."""
        self._managed_entities: list[ManagedEntity] = []
        self._transition_event: Any = None
        self._state_machine = StateMachine(self._publish_transition)
        if not enable_communication_interface:
            return
        node: Any = self
        services = lifecycle_msgs.srv
        self._transition_event = node.create_publisher(
            lifecycle_msgs.msg.TransitionEvent, "~/transition_event", 10
        )
        for srv_type, name, callback in (
            (services.ChangeState, "change_state", self._on_change_state),
            (services.GetState, "get_state", self._on_get_state),
            (services.GetAvailableStates, "get_available_states", self._on_get_states),
            (services.GetAvailableTransitions, "get_available_transitions", self._on_get_next),
            (services.GetAvailableTransitions, "get_transition_graph", self._on_get_graph),
        ):
            node.create_service(srv_type, f"~/{name}", callback, callback_group=callback_group)

    # Transitions from within the process

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Go from unconfigured to inactive."""
        return self._change_state(Transition.TRANSITION_CONFIGURE)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Go from inactive to unconfigured."""
        return self._change_state(Transition.TRANSITION_CLEANUP)

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Go from inactive to active."""
        return self._change_state(Transition.TRANSITION_ACTIVATE)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Go from active to inactive."""
        return self._change_state(Transition.TRANSITION_DEACTIVATE)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """Go from any primary state to finalized."""
        edge = self._state_machine.find("shutdown")
        if edge is None:
            raise RCLError(
                f"Shutdown transition not possible in state {self._state_machine.current.label}"
            )
        return self._change_state(edge.id)

    def _change_state(self, transition_id: int) -> TransitionCallbackReturn:
        before = self._state_machine.current
        self._state_machine.trigger_id(transition_id)
        result = self._run_callback(before)
        self._state_machine.trigger_label(result.to_label())
        if result is TransitionCallbackReturn.ERROR:
            self._state_machine.trigger_label(self._run_callback(before).to_label())
        return result

    def _run_callback(self, before: LifecycleState) -> TransitionCallbackReturn:
        name = _CALLBACKS[self._state_machine.current.state_id]
        try:
            result = getattr(self, name)(before)
            if isinstance(result, TransitionCallbackReturn):
                return result
            problem = f"returned {result!r} instead of a TransitionCallbackReturn"
        except Exception as error:
            problem = f"raised {type(error).__name__}: {error}"
        # rclpy drops the exception here without a word; a node that fails to start should say why.
        node: Any = self
        node.get_logger().error(f"Transition callback {name}() {problem}; treated as ERROR.")
        return TransitionCallbackReturn.ERROR

    # Default callbacks pass transitions on to managed entities

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Let an entity follow the transitions."""
        if not isinstance(entity, ManagedEntity):
            raise TypeError("Expected a rclpy.lifecycle.ManagedEntity instance.")
        self._managed_entities.append(entity)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure managed entities."""
        return self._forward("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up managed entities."""
        return self._forward("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Shut managed entities down."""
        return self._forward("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate managed entities."""
        return self._forward("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate managed entities."""
        return self._forward("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tell managed entities of an error."""
        return self._forward("on_error", state)

    def _forward(self, name: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in self._managed_entities:
            result = getattr(entity, name)(state)
            if not isinstance(result, TransitionCallbackReturn):
                raise TypeError(
                    f"{name}() return value of class {type(entity)} should be "
                    "`TransitionCallbackReturn`."
                )
            if result is not TransitionCallbackReturn.SUCCESS:
                return result
        return TransitionCallbackReturn.SUCCESS

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """Create a publisher that is silent unless the node is active."""
        if "publisher_class" in kwargs:
            raise TypeError(
                "create_publisher() got an unexpected keyword argument 'publisher_class'"
            )
        node: Any = self
        publisher: LifecyclePublisher = node.create_publisher(
            *args, **kwargs, publisher_class=LifecyclePublisher
        )
        self._managed_entities.append(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """Delete such a publisher."""
        if publisher in self._managed_entities:
            self._managed_entities.remove(publisher)
        node: Any = self
        destroyed: bool = node.destroy_publisher(publisher)
        return destroyed

    # Services and topic

    def _publish_transition(self, edge: Edge) -> None:
        node: Any = self
        if self._transition_event is None or not node.context.ok():
            return
        self._transition_event.publish(
            lifecycle_msgs.msg.TransitionEvent(
                transition=Transition(id=edge.id, label=edge.label),
                start_state=State(id=STATES[edge.start], label=edge.start),
                goal_state=State(id=STATES[edge.goal], label=edge.goal),
            )
        )

    def _on_change_state(self, request: Any, response: Any) -> Any:
        number = request.transition.id
        if request.transition.label:
            edge = self._state_machine.find(request.transition.label)
            if edge is None:
                response.success = False
                return response
            number = edge.id
        try:
            response.success = self._change_state(number) is TransitionCallbackReturn.SUCCESS
        except RCLError as error:
            node: Any = self
            node.get_logger().error(str(error))
            response.success = False
        return response

    def _on_get_state(self, request: Any, response: Any) -> Any:
        current = self._state_machine.current
        response.current_state = State(id=current.state_id, label=current.label)
        return response

    def _on_get_states(self, request: Any, response: Any) -> Any:
        response.available_states = [State(id=STATES[name], label=name) for name in STATES]
        return response

    def _on_get_next(self, request: Any, response: Any) -> Any:
        response.available_transitions = _descriptions(self._state_machine.available)
        return response

    def _on_get_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = _descriptions(EDGES)
        return response


def _descriptions(edges: list[Edge]) -> list[Any]:
    return [
        lifecycle_msgs.msg.TransitionDescription(
            transition=Transition(id=edge.id, label=edge.label),
            start_state=State(id=STATES[edge.start], label=edge.start),
            goal_state=State(id=STATES[edge.goal], label=edge.goal),
        )
        for edge in edges
    ]


class LifecycleNode(LifecycleNodeMixin, Node):
    """A node with managed states."""

    def __init__(
        self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any
    ) -> None:
        """Create the node, unconfigured."""
        Node.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(
            self, enable_communication_interface=enable_communication_interface
        )
