# SPDX-License-Identifier: Apache-2.0
"""Action servers."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any

from action_msgs.msg import GoalInfo, GoalStatus, GoalStatusArray
from action_msgs.srv import CancelGoal

from .._rclpy_pybind11 import RCLError
from ..callback_groups import CallbackGroup
from ..qos import QoSProfile, qos_profile_action_status_default
from ..task import Future


class GoalResponse(Enum):
    """Answers to a new goal."""

    REJECT = 1
    ACCEPT = 2


class CancelResponse(Enum):
    """Answers to a request for cancellation."""

    REJECT = 1
    ACCEPT = 2


# event: (states in which it may happen, state that follows)
_TRANSITIONS = {
    "execute": ({GoalStatus.STATUS_ACCEPTED}, GoalStatus.STATUS_EXECUTING),
    "cancel": (
        {GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING},
        GoalStatus.STATUS_CANCELING,
    ),
    "succeed": (
        {GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING},
        GoalStatus.STATUS_SUCCEEDED,
    ),
    "abort": (
        {GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING},
        GoalStatus.STATUS_ABORTED,
    ),
    "canceled": ({GoalStatus.STATUS_CANCELING}, GoalStatus.STATUS_CANCELED),
}
_ACTIVE = {GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING}


class ServerGoalHandle:
    """One accepted goal."""

    def __init__(self, action_server: ActionServer, goal_info: Any, goal_request: Any) -> None:
        """Start as accepted."""
        self._action_server = action_server
        self._goal_info = goal_info
        self._goal_request = goal_request
        self._status: int = GoalStatus.STATUS_ACCEPTED
        self._lock = threading.Lock()
        self._result: Future = Future()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerGoalHandle) and self.goal_id == other.goal_id

    __hash__ = None  # type: ignore[assignment]

    @property
    def request(self) -> Any:
        """The goal."""
        return self._goal_request

    @property
    def goal_id(self) -> Any:
        """Identifier of the goal."""
        return self._goal_info.goal_id

    @property
    def status(self) -> int:
        """One of the constants of GoalStatus."""
        return self._status

    @property
    def is_active(self) -> bool:
        """Whether the goal has not ended."""
        return self._status in _ACTIVE

    @property
    def is_cancel_requested(self) -> bool:
        """Whether the goal is to be cancelled."""
        return self._status == GoalStatus.STATUS_CANCELING

    def _update(self, event: str) -> None:
        allowed, following = _TRANSITIONS[event]
        with self._lock:
            if self._status not in allowed:
                raise RCLError(
                    f"goal_handle attempted invalid transition from state "
                    f"{self._status} with event {event}"
                )
            self._status = following
        self._action_server._publish_status()

    def execute(self, execute_callback: Callable[..., Any] | None = None) -> None:
        """Run the goal soon."""
        # A goal may be cancelled before it starts; its callback still has to deal with that.
        if not self.is_cancel_requested:
            self._update("execute")
        self._action_server.notify_execute(self, execute_callback)

    def publish_feedback(self, feedback: Any) -> None:
        """Send feedback."""
        self._action_server._publish_feedback(self, feedback)

    def succeed(self) -> None:
        """End with success."""
        self._update("succeed")

    def abort(self) -> None:
        """End with failure."""
        self._update("abort")

    def canceled(self) -> None:
        """End as cancelled."""
        self._update("canceled")


def default_goal_callback(goal_request: Any) -> GoalResponse:
    """Accept."""
    return GoalResponse.ACCEPT


def default_cancel_callback(goal_handle: Any) -> CancelResponse:
    """Refuse."""
    return CancelResponse.REJECT


def default_handle_accepted_callback(goal_handle: ServerGoalHandle) -> None:
    """Run the goal at once."""
    goal_handle.execute()


class ActionServer:
    """Offers an action."""

    def __init__(
        self,
        node: Any,
        action_type: Any,
        action_name: str,
        execute_callback: Callable[..., Any],
        *,
        callback_group: CallbackGroup | None = None,
        goal_callback: Callable[[Any], Any] = default_goal_callback,
        handle_accepted_callback: Callable[..., Any] = default_handle_accepted_callback,
        cancel_callback: Callable[[Any], Any] = default_cancel_callback,
        feedback_pub_qos_profile: QoSProfile | None = None,
        status_pub_qos_profile: QoSProfile = qos_profile_action_status_default,
        result_timeout: float = 900,
    ) -> None:
        """Create the services and topics of the action."""
        self._node = node
        self._action_type = action_type
        self._execute_callback = execute_callback
        self._goal_callback = goal_callback
        self._cancel_callback = cancel_callback
        self._handle_accepted_callback = handle_accepted_callback
        self._result_timeout = result_timeout
        self._goals: dict[bytes, ServerGoalHandle] = {}
        self._ended: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._logger = node.get_logger().get_child("action_server")
        implementation = action_type.Impl
        base = f"{action_name}/_action"
        self._services = []
        for srv_type, name, callback in (
            (implementation.SendGoalService, "send_goal", self._on_goal),
            (implementation.CancelGoalService, "cancel_goal", self._on_cancel),
            (implementation.GetResultService, "get_result", self._on_result),
        ):
            service = node.create_service(
                srv_type, f"{base}/{name}", callback, callback_group=callback_group
            )
            service.deferred = True
            self._services.append(service)
        self._feedback = node.create_publisher(
            implementation.FeedbackMessage,
            f"{base}/feedback",
            feedback_pub_qos_profile or QoSProfile(depth=10),
        )
        self._status = node.create_publisher(
            GoalStatusArray, f"{base}/status", status_pub_qos_profile
        )

    @property
    def action_type(self) -> Any:
        """Type of the action."""
        return self._action_type

    # Requests

    async def _on_goal(self, request: Any, respond: Callable[[Any], None]) -> None:
        key = bytes(request.goal_id.uuid)
        info = GoalInfo(goal_id=request.goal_id, stamp=self._node.get_clock().now().to_msg())
        with self._lock:
            known = key in self._goals
        answer = GoalResponse.REJECT if known else await _result(self._goal_callback, request.goal)
        accepted = answer is GoalResponse.ACCEPT
        handle = ServerGoalHandle(self, info, request.goal)
        if accepted:
            self._forget_old_goals()
            with self._lock:
                self._goals[key] = handle
        response = self._action_type.Impl.SendGoalService.Response
        respond(response(accepted=accepted, stamp=info.stamp))
        if accepted:
            await _result(self._handle_accepted_callback, handle)

    async def _on_cancel(self, request: Any, respond: Callable[[Any], None]) -> None:
        response = CancelGoal.Response()
        wanted, until = bytes(request.goal_info.goal_id.uuid), request.goal_info.stamp
        before = (until.sec, until.nanosec)
        with self._lock:
            goals = dict(self._goals)
        everything = not any(wanted) and before == (0, 0)
        if any(wanted) and wanted not in goals:
            response.return_code = CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID
        elif any(wanted) and not goals[wanted].is_active:
            response.return_code = CancelGoal.Response.ERROR_GOAL_TERMINATED
        for key, handle in goals.items():
            stamp = handle._goal_info.stamp
            chosen = (
                everything
                or key == wanted
                or (before != (0, 0) and (stamp.sec, stamp.nanosec) <= before)
            )
            if not chosen or not handle.is_active or handle.is_cancel_requested:
                continue
            if await _result(self._cancel_callback, handle) is CancelResponse.ACCEPT:
                try:
                    handle._update("cancel")
                except RCLError:
                    continue  # it ended meanwhile
                response.goals_canceling.append(handle._goal_info)
            else:
                response.return_code = CancelGoal.Response.ERROR_REJECTED
        if response.goals_canceling:
            response.return_code = CancelGoal.Response.ERROR_NONE
        respond(response)

    def _on_result(self, request: Any, respond: Callable[[Any], None]) -> None:
        with self._lock:
            handle = self._goals.get(bytes(request.goal_id.uuid))
        if handle is None:
            response = self._action_type.Impl.GetResultService.Response
            respond(response(status=GoalStatus.STATUS_UNKNOWN))
            return
        handle._result.add_done_callback(lambda future: respond(future.result()))

    # Execution

    def notify_execute(
        self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None
    ) -> None:
        """Let the executor run a goal."""
        callback = execute_callback or self._execute_callback
        self._node.executor.create_task(self._execute, callback, goal_handle)

    async def _execute(self, callback: Callable[..., Any], handle: ServerGoalHandle) -> None:
        try:
            result = await _result(callback, handle)
        except Exception as error:
            self._logger.error(f"Error raised in execute callback: {error}")
            traceback.print_exc()
            result = None
        if handle.is_active:
            self._logger.warning(
                f"Goal state not set, assuming aborted. Goal ID: {bytes(handle.goal_id.uuid).hex()}"
            )
            handle.abort()
        if result is None:
            result = self._action_type.Result()
        response = self._action_type.Impl.GetResultService.Response
        with self._lock:
            self._ended[bytes(handle.goal_id.uuid)] = self._node.get_clock().now().nanoseconds
        handle._result.set_result(response(status=handle.status, result=result))

    def _forget_old_goals(self) -> None:
        """Results are kept for ``result_timeout`` seconds."""
        oldest = self._node.get_clock().now().nanoseconds - self._result_timeout * 1e9
        with self._lock:
            for key in [key for key, ended in self._ended.items() if ended < oldest]:
                del self._ended[key], self._goals[key]

    def _publish_feedback(self, handle: ServerGoalHandle, feedback: Any) -> None:
        if not isinstance(feedback, self._action_type.Feedback):
            raise TypeError(f"Expected {self._action_type.Feedback}, got {type(feedback)}")
        message = self._action_type.Impl.FeedbackMessage
        self._feedback.publish(message(goal_id=handle.goal_id, feedback=feedback))

    def _publish_status(self) -> None:
        with self._lock:
            statuses = [
                GoalStatus(goal_info=handle._goal_info, status=handle.status)
                for handle in self._goals.values()
            ]
        self._status.publish(GoalStatusArray(status_list=statuses))

    def destroy(self) -> None:
        """Delete the services and topics."""
        for service in self._services:
            self._node.destroy_service(service)
        for publisher in (self._feedback, self._status):
            self._node.destroy_publisher(publisher)


async def _result(callback: Callable[..., Any], *args: Any) -> Any:
    value = callback(*args)
    return await value if inspect.isawaitable(value) else value
