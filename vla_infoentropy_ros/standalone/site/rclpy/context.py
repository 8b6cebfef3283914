# SPDX-License-Identifier: Apache-2.0
"""The lifetime of a connection to a ROS domain."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from inspect import ismethod
from types import TracebackType
from typing import Any

from vla_infoentropy_ros.standalone.dds import TransportError

from ._rclpy_pybind11 import RCLError
from .exceptions import NotInitializedException
from .impl import rcutils_logger
from .impl.arguments import ArgumentError, RosArguments, parse
from .impl.participant import Participant


def _environment_domain_id() -> int:
    text = os.environ.get("ROS_DOMAIN_ID", "0").strip() or "0"
    if not text.isdigit():
        raise RCLError(f"ROS_DOMAIN_ID is {text!r}; it must be an integer from 0 to 232.")
    return int(text)


class Context:
    """Everything between init and shutdown."""

    def __init__(self) -> None:
        """Create a context that is not initialised yet."""
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], Any]] = []
        self._participant: Participant | None = None
        self._arguments = RosArguments()
        self._valid = False
        # Conditions that wake executors; kept apart because a signal handler uses them.
        self._wake_ups: weakref.WeakSet[Any] = weakref.WeakSet()

    def init(
        self,
        args: list[str] | None = None,
        *,
        initialize_logging: bool = True,
        domain_id: int | None = None,
    ) -> None:
        """Parse arguments and join the domain."""
        with self._lock:
            if domain_id is not None and domain_id < 0:
                raise RuntimeError(f"Domain id ({domain_id}) should not be lower than zero.")
            if self._participant is not None:
                raise RuntimeError("Context.init() must only be called once")
            try:
                self._arguments = parse(list(sys.argv if args is None else args))
                chosen = _environment_domain_id() if domain_id is None else domain_id
                self._participant = Participant(chosen, self._arguments.enclave)
            except (ArgumentError, TransportError) as error:
                raise RCLError(f"failed to initialize: {error}") from error
            for logger, level in self._arguments.log_levels:
                rcutils_logger.set_level(logger, rcutils_logger.LoggingSeverity[level.upper()])
            # Nodes refer to their context, so once it is collected nothing uses the participant.
            # At exit it runs before the handler in dds.py, which was registered earlier.
            weakref.finalize(self, self._participant.close)
            self._valid = True

    @property
    def handle(self) -> Context:
        """The context itself; there is no compiled part."""
        return self

    @property
    def participant(self) -> Participant:
        """The DDS participant."""
        if self._participant is None:
            raise NotInitializedException()
        return self._participant

    @property
    def arguments(self) -> RosArguments:
        """ROS arguments of the process."""
        return self._arguments

    def ok(self) -> bool:
        """Whether the context is initialised and not shut down."""
        return self._valid

    def get_domain_id(self) -> int:
        """Return the domain id in use."""
        if self._participant is None:
            raise RuntimeError("Context must be initialized before it can have a domain id")
        return self._participant.domain_id

    def shutdown(self) -> None:
        """Shut down; raises when that was done before."""
        if self._participant is None:
            raise RuntimeError("Context must be initialized before it can be shutdown")
        if not self._valid:
            raise RCLError("failed to shutdown: rcl_shutdown already called on the given context")
        self._finish()

    def try_shutdown(self) -> None:
        """Shut down unless that was done before."""
        if self._participant is not None and self._valid:
            self._finish()

    def _finish(self) -> None:
        self.interrupt()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for stored in callbacks:
            callback = stored() if isinstance(stored, weakref.WeakMethod) else stored
            if callback is not None:
                callback()

    def interrupt(self) -> None:
        """Become invalid and wake all waits; takes no locks, so a signal handler may call it."""
        self._valid = False
        for wake_up in list(self._wake_ups):
            wake_up.trigger()

    def on_shutdown(self, callback: Callable[[], Any]) -> None:
        """Call ``callback`` on shutdown, or now if that has happened."""
        if not callable(callback):
            raise TypeError(f"callback should be a callable, got {type(callback).__name__}")
        with self._lock:
            if self._participant is None or self._valid:
                self._callbacks.append(
                    weakref.WeakMethod(callback) if ismethod(callback) else callback
                )
                return
        callback()

    def destroy(self) -> None:
        """Leave the domain."""
        if self._participant is not None:
            self._participant.close()

    def __enter__(self) -> Context:
        self.init()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.try_shutdown()
