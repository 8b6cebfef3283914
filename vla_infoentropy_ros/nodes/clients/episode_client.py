# SPDX-License-Identifier: Apache-2.0
"""Runs episodes from outside: sets parameters of both nodes, starts, listens, clears faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import rclpy
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.msg import EpisodeResult, InferenceStatus, TokenSelection
from vla_infoentropy_ros.nodes.discovery import stay_local

POLICY, SIM = "policy_node", "sim_node"
_POLL_S = 0.01
_CALL_TIMEOUT_S = 20.0
_LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_QUEUE = QoSProfile(depth=50)


class GraphError(UserError, RuntimeError):
    """The nodes do not do what they were asked; the message says which and what."""


class EpisodeListener(Protocol):
    """Gets the messages of one episode, from the client's thread.

    result: None until the outcome is known. last_progress_s: monotonic time of the last step.
    """

    selector: str
    seed: int
    result: Any
    last_progress_s: float

    def status(self, message: Any) -> None:
        """An InferenceStatus."""

    def selection(self, message: Any) -> None:
        """A TokenSelection."""

    def episode(self, message: Any) -> None:
        """An EpisodeResult."""

    @property
    def steps(self) -> int:
        """Steps heard of."""

    @property
    def complete(self) -> bool:
        """Nothing of the episode is missing any more."""


class EpisodeClient:
    """A node on one domain, spinning in a thread; use it as a context manager.

    check: called while waiting; raises when it is no use to wait any longer. namespace: that of
    both nodes. sim: name of the one that runs the episodes.
    """

    def __init__(
        self, domain: int, check: Callable[[], None], namespace: str = "", sim: str = SIM
    ) -> None:
        self._check, self.sim = check, sim
        # A context of its own leaves signals alone: they end the program in order, instead of
        # cutting the transport first.
        self._context = rclpy.Context()
        stay_local()
        rclpy.init(args=[], context=self._context, domain_id=domain,
                   signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("episode_client", context=self._context, namespace=namespace,
                                      start_parameter_services=False, enable_rosout=False)
        self.status: Any = None
        self._listener: EpisodeListener | None = None
        make = self.node.create_subscription
        make(InferenceStatus, f"{POLICY}/status", self._on_status, _LATCHED)
        make(TokenSelection, f"{POLICY}/selection", self._on_selection, _QUEUE)
        make(EpisodeResult, "episode", self._on_episode, _LATCHED)
        self._set = {n: self.node.create_client(SetParameters, f"{n}/set_parameters")
                     for n in (POLICY, sim)}
        self._get = self.node.create_client(GetParameters, f"{POLICY}/get_parameters")
        self._start = self.node.create_client(Trigger, f"{sim}/start_episode")
        self._clear = self.node.create_client(Trigger, f"{POLICY}/clear_fault")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="episode-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> EpisodeClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Both nodes serve, and the policy is loaded and active."""
        clients = [*self._set.values(), self._get, self._start, self._clear]

        def ready() -> bool:
            active = (InferenceStatus.WAITING, InferenceStatus.RUNNING)
            return (
                self.status is not None
                and self.status.state in active
                and all(client.service_is_ready() for client in clients)
            )

        if not self.wait(ready, timeout_s):
            what = "nothing was heard from the policy node"
            if self.status is not None:
                what = f"the policy node says: {self.status.detail or 'nothing'}"
            raise GraphError(f"the nodes were not ready within {timeout_s:.0f} s: {what}")

    def wait(self, condition: Callable[[], Any], timeout_s: float) -> bool:
        """Whether the condition came true in time; raises what ``check`` raises."""
        limit = time.monotonic() + timeout_s
        checked = 0.0
        while not condition():
            now = time.monotonic()
            if now >= limit:
                return False
            if now - checked > 0.2:
                self._check()
                checked = now
            time.sleep(_POLL_S)
        return True

    def do(self, action: Callable[[], None]) -> None:
        """Run something in the spinning thread: what that waits for must not be destroyed by
        another one meanwhile."""
        task = self._executor.create_task(action)
        limit = time.monotonic() + _CALL_TIMEOUT_S
        while not task.done() and self._thread.is_alive() and time.monotonic() < limit:
            time.sleep(_POLL_S)

    def set_parameters(self, node: str, values: Mapping[str, Any]) -> None:
        """Set parameters of a node while it runs. Raises GraphError with the node's reason."""
        request = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        answer = self._call(self._set[node], request)
        for name, result in zip(values, answer.results, strict=True):
            if not result.successful:
                raise GraphError(f"{node} refuses {name}={values[name]!r}: {result.reason}")

    def policy_parameters(self, names: Sequence[str]) -> dict[str, str | int | float | bool]:
        """Values of parameters of the policy node; it must know every name."""
        answer = self._call(self._get, GetParameters.Request(names=list(names)))
        read = {
            ParameterType.PARAMETER_BOOL: "bool_value",
            ParameterType.PARAMETER_INTEGER: "integer_value",
            ParameterType.PARAMETER_DOUBLE: "double_value",
            ParameterType.PARAMETER_STRING: "string_value",
        }
        return {name: getattr(value, read[value.type])
                for name, value in zip(names, answer.values, strict=False) if value.type in read}

    def run_episode(self, listener: EpisodeListener, stall_s: float) -> None:
        """Start the episode and wait for its end. Raises GraphError when nothing moves."""
        self._listener = listener
        try:
            answer = self._call(self._start, Trigger.Request())
            if not answer.success:
                raise GraphError(f"{self.sim} does not start an episode: {answer.message}")
            while not self.wait(lambda: listener.result is not None, 1.0):
                if time.monotonic() - listener.last_progress_s > stall_s:
                    raise GraphError(
                        f"no policy step for {stall_s:.0f} s (seed {listener.seed}, "
                        f"{listener.selector}, after {listener.steps} steps); see the log"
                    )
            # Topics may overtake each other: the outcome before the last step's status.
            self.wait(lambda: listener.complete, 0.5)
        finally:
            self._listener = None

    def clear_fault(self) -> None:
        """Release a latched fault, so that the next episode can run."""
        self._call(self._clear, Trigger.Request())

    def _call(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        if not self.wait(future.done, _CALL_TIMEOUT_S):
            client.remove_pending_request(future)
            raise GraphError(f"no answer from {client.srv_name} within {_CALL_TIMEOUT_S:.0f} s")
        return future.result()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_status(self, message: Any) -> None:
        self.status = message
        listener = self._listener
        if listener is not None:
            listener.status(message)

    def _on_selection(self, message: Any) -> None:
        listener = self._listener
        if listener is not None:
            listener.selection(message)

    def _on_episode(self, message: Any) -> None:
        listener = self._listener
        if listener is not None:
            listener.episode(message)
