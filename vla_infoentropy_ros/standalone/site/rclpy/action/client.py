# SPDX-License-Identifier: Apache-2.0
"""Action clients."""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from action_msgs.msg import GoalInfo, GoalStatus, GoalStatusArray
from action_msgs.srv import CancelGoal
from unique_identifier_msgs.msg import UUID

from ..callback_groups import CallbackGroup
from ..qos import QoSProfile, qos_profile_action_status_default
from ..task import Future


class ClientGoalHandle:
    """A goal that was sent."""

    def __init__(self, action_client: ActionClient, goal_id: Any, goal_response: Any) -> None:
        """Keep the answer of the server."""
        self._action_client = action_client
        self._goal_id = goal_id
        self._goal_response = goal_response
        self._status: int = GoalStatus.STATUS_UNKNOWN

    @property
    def goal_id(self) -> Any:
        """Identifier of the goal."""
        return self._goal_id

    @property
    def accepted(self) -> bool:
        """Whether the server took the goal."""
        return bool(self._goal_response.accepted)

    @property
    def stamp(self) -> Any:
        """Time at which the server took the goal."""
        return self._goal_response.stamp

    @property
    def status(self) -> int:
        """One of the constants of GoalStatus, as last heard."""
        return self._status

    def get_result_async(self) -> Future:
        """Ask for the result; the future gets a message with ``status`` and ``result``."""
        return self._action_client._get_result_async(self)

    def cancel_goal_async(self) -> Future:
        """Ask for cancellation; the future gets a CancelGoal response."""
        return self._action_client._cancel_goal_async(self)


class ActionClient:
    """Uses an action."""

    def __init__(
        self,
        node: Any,
        action_type: Any,
        action_name: str,
        *,
        callback_group: CallbackGroup | None = None,
        feedback_sub_qos_profile: QoSProfile | None = None,
        status_sub_qos_profile: QoSProfile = qos_profile_action_status_default,
    ) -> None:
        """Create the clients and subscriptions of the action."""
        self._node = node
        self._action_type = action_type
        self._feedback_callbacks: dict[bytes, Callable[[Any], Any]] = {}
        self._handles: weakref.WeakValueDictionary[bytes, ClientGoalHandle] = (
            weakref.WeakValueDictionary()
        )
        implementation = action_type.Impl
        base = f"{action_name}/_action"

        def client(srv_type: Any, name: str) -> Any:
            return node.create_client(srv_type, f"{base}/{name}", callback_group=callback_group)

        self._send_goal_client = client(implementation.SendGoalService, "send_goal")
        self._cancel_client = client(implementation.CancelGoalService, "cancel_goal")
        self._result_client = client(implementation.GetResultService, "get_result")
        self._subscriptions = [
            node.create_subscription(
                implementation.FeedbackMessage,
                f"{base}/feedback",
                self._on_feedback,
                feedback_sub_qos_profile or QoSProfile(depth=10),
                callback_group=callback_group,
            ),
            node.create_subscription(
                GoalStatusArray,
                f"{base}/status",
                self._on_status,
                status_sub_qos_profile,
                callback_group=callback_group,
            ),
        ]

    def server_is_ready(self) -> bool:
        """Whether a server is there."""
        clients = (self._send_goal_client, self._cancel_client, self._result_client)
        return all(client.service_is_ready() for client in clients) and all(
            subscription.get_publisher_count() for subscription in self._subscriptions
        )

    def wait_for_server(self, timeout_sec: float | None = None) -> bool:
        """Block until a server is there; False when the time is over."""
        limit = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self._node.context.ok():
            if self.server_is_ready():
                return True
            if limit is not None and time.monotonic() >= limit:
                return False
            time.sleep(0.02)
        return False

    def send_goal_async(
        self,
        goal: Any,
        feedback_callback: Callable[[Any], Any] | None = None,
        goal_uuid: Any = None,
    ) -> Future:
        """Send a goal; the future gets a ClientGoalHandle."""
        if not isinstance(goal, self._action_type.Goal):
            raise TypeError(f"Expected {self._action_type.Goal}, got {type(goal)}")
        goal_id = goal_uuid or UUID(uuid=np.frombuffer(uuid.uuid4().bytes, np.uint8).copy())
        key = bytes(goal_id.uuid)
        if feedback_callback is not None:
            self._feedback_callbacks[key] = feedback_callback
        request = self._action_type.Impl.SendGoalService.Request(goal_id=goal_id, goal=goal)
        future = Future(executor=self._node.executor)

        def answered(answer: Future) -> None:
            handle = ClientGoalHandle(self, goal_id, answer.result())
            if handle.accepted:
                self._handles[key] = handle
            else:
                self._feedback_callbacks.pop(key, None)
            future.set_result(handle)

        self._send_goal_client.call_async(request).add_done_callback(answered)
        return future

    def _get_result_async(self, handle: ClientGoalHandle) -> Future:
        request = self._action_type.Impl.GetResultService.Request(goal_id=handle.goal_id)
        future: Future = self._result_client.call_async(request)

        def ended(answer: Future) -> None:
            handle._status = answer.result().status
            self._feedback_callbacks.pop(bytes(handle.goal_id.uuid), None)

        future.add_done_callback(ended)
        return future

    def _cancel_goal_async(self, handle: ClientGoalHandle) -> Future:
        request = CancelGoal.Request(goal_info=GoalInfo(goal_id=handle.goal_id))
        future: Future = self._cancel_client.call_async(request)
        return future

    def _on_feedback(self, message: Any) -> None:
        callback = self._feedback_callbacks.get(bytes(message.goal_id.uuid))
        if callback is not None:
            callback(message)

    def _on_status(self, message: Any) -> None:
        for status in message.status_list:
            handle = self._handles.get(bytes(status.goal_info.goal_id.uuid))
            if handle is not None:
                handle._status = status.status

    def destroy(self) -> None:
        """Delete the clients and subscriptions."""
        for client in (self._send_goal_client, self._cancel_client, self._result_client):
            self._node.destroy_client(client)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
