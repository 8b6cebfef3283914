# SPDX-License-Identifier: Apache-2.0
"""Service clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from vla_infoentropy_ros.standalone import dds
from vla_infoentropy_ros.standalone.cdr import CdrError

from ._rclpy_pybind11 import InvalidHandle, RCLError
from .callback_groups import CallbackGroup
from .context import Context
from .impl.participant import user_data_value
from .qos import QoSProfile
from .service import split_request_id, with_request_id
from .task import Future

_POLL_SEC = 0.02


class Client:
    """Sends requests; create with :meth:`Node.create_client`."""

    def __init__(
        self,
        context: Context,
        reader: dds.Reader,
        writer: dds.Writer,
        srv_type: Any,
        srv_name: str,
        qos_profile: QoSProfile,
        callback_group: CallbackGroup,
        logger: Any,
    ) -> None:
        """Keep both endpoints."""
        self.context = context
        self._reader = reader
        self._writer = writer
        self._logger = logger
        self._alive = True
        self._lock = threading.Lock()
        self._guid = writer.instance_handle()
        self._sequence = 0
        self._pending: dict[int, Future] = {}
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.qos_profile = qos_profile
        self.callback_group = callback_group
        self.executor: Any = None

    @property
    def service_name(self) -> str:
        """Full service name."""
        return self.srv_name

    @property
    def handle(self) -> Client:
        """The client itself; there is no compiled part."""
        return self

    @property
    def condition(self) -> Any:
        """What a wait set attaches."""
        return self._reader.condition

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Send a request and block for the reply; an executor must spin in another thread."""
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        if not (timeout_sec is None or isinstance(timeout_sec, int | float)):
            raise TypeError(f"timeout_sec must be a number or None, not {timeout_sec!r}")
        done = threading.Event()
        future = self.call_async(request)
        future.add_done_callback(lambda _: done.set())
        limit = None if timeout_sec is None else time.monotonic() + timeout_sec
        while not done.wait(_POLL_SEC) and not future.done():
            if limit is not None and time.monotonic() >= limit:
                self.remove_pending_request(future)
                raise TimeoutError(
                    f"No reply from service {self.srv_name!r} within {timeout_sec} s. Is an "
                    "executor spinning in another thread?"
                )
            if not self.context.ok():
                self.remove_pending_request(future)
                raise RCLError("the context was shut down while waiting for a reply")
        return future.result()

    def call_async(self, request: Any) -> Future:
        """Send a request; the future gets the reply."""
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        if not self._alive:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        if not self.context.ok():
            raise RCLError("failed to send request: the context is invalid")
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
            future = Future(executor=self.executor)
            self._pending[sequence] = future
        future.add_done_callback(self.remove_pending_request)
        self._writer.write(with_request_id(self._guid, sequence, request))
        return future

    def remove_pending_request(self, future: Future) -> None:
        """Forget a request; its reply will be ignored."""
        with self._lock:
            for sequence, pending in list(self._pending.items()):
                if pending is future:
                    del self._pending[sequence]

    def service_is_ready(self) -> bool:
        """Whether a server is there and both directions are matched."""
        readers, writers = self._writer.matched(), self._reader.matched()
        ids = {
            found
            for item in readers
            if (found := user_data_value(item.qos, "serviceid")) is not None
        }
        if not ids:
            return bool(readers) and bool(writers)
        return any(user_data_value(item.qos, "serviceid") in ids for item in writers)

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Block until a server is ready; False when the time is over or the context shut down."""
        limit = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self.context.ok():
            if self.service_is_ready():
                return True
            if limit is not None and time.monotonic() >= limit:
                return False
            time.sleep(_POLL_SEC)
        return False

    def is_ready(self) -> bool:
        """Whether a reply waits."""
        return self._reader.has_data()

    def take(self) -> tuple[Future, Any] | None:
        """Take a reply and the future that waits for it."""
        sample = self._reader.take()
        if sample is None:
            return None
        try:
            guid, sequence, response = split_request_id(sample[0], self.srv_type.Response)
        except CdrError as error:
            self._logger.error(f"Reply from {self.srv_name!r} dropped: {error}")
            return None
        # All clients of a service see all replies.
        if guid != self._guid:
            return None
        with self._lock:
            future = self._pending.get(sequence)
        return None if future is None else (future, response)

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Take a reply and return a function that completes its future."""
        taken = self.take()
        if taken is None:
            return None
        future, response = taken
        future._set_executor(executor)
        return lambda: future.set_result(response)

    def destroy(self) -> None:
        """Delete both endpoints."""
        self._alive = False
        self._reader.close()
        self._writer.close()
