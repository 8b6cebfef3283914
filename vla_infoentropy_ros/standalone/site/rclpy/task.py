# SPDX-License-Identifier: Apache-2.0
"""Futures, and tasks that an executor runs."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any


class Future:
    """A result that arrives later."""

    def __init__(self, *, executor: Any = None) -> None:
        """Start without a result."""
        self._lock = threading.Lock()
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Any], Any]] = []
        self._executor: Callable[[], Any] = lambda: None
        self._set_executor(executor)

    def __del__(self) -> None:
        if getattr(self, "_exception", None) is not None and not self._exception_fetched:
            print(
                f"The following exception was never retrieved: {self._exception}", file=sys.stderr
            )

    def __await__(self) -> Generator[None, None, Any]:
        while not self._done:
            yield
        return self.result()

    def cancel(self) -> None:
        """Ask for cancellation; has no effect once done."""
        with self._lock:
            if not self._done:
                self._cancelled = True
        self._run_callbacks()

    def cancelled(self) -> bool:
        """Whether cancellation was asked for."""
        return self._cancelled

    def done(self) -> bool:
        """Whether a result or an exception is there."""
        return self._done

    def result(self) -> Any:
        """Return the result, raise the exception, or return None when neither is there."""
        exception = self.exception()
        if exception is not None:
            raise exception
        return self._result

    def exception(self) -> BaseException | None:
        """Return the exception, if any."""
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        """Finish with a result."""
        with self._lock:
            self._result = result
            self._done, self._cancelled = True, False
        self._run_callbacks()

    def set_exception(self, exception: BaseException) -> None:
        """Finish with an exception."""
        with self._lock:
            self._exception = exception
            self._exception_fetched = False
            self._done, self._cancelled = True, False
        self._run_callbacks()

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Call ``callback(self)`` when done; at once, or soon by the executor, if done already."""
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        self._invoke(callback)

    def remove_done_callback(self, callback: Callable[[Any], Any]) -> bool:
        """Take a callback back; return whether it was there."""
        with self._lock:
            found = callback in self._callbacks
            if found:
                self._callbacks.remove(callback)
        return found

    def _set_executor(self, executor: Any) -> None:
        self._executor = (lambda: None) if executor is None else weakref.ref(executor)

    def _run_callbacks(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._invoke(callback)

    def _invoke(self, callback: Callable[[Any], Any]) -> None:
        executor = self._executor()
        if executor is not None:
            executor.create_task(callback, self)
            return
        try:
            callback(self)
        except Exception as error:
            # Other callbacks must still run.
            warnings.warn(f"Unhandled exception in done callback: {error}", stacklevel=2)


class Task(Future):
    """A function or coroutine that an executor runs; calling it makes one step."""

    def __init__(
        self, handler: Any, args: Any = None, kwargs: Any = None, executor: Any = None
    ) -> None:
        """Keep the handler for later."""
        super().__init__(executor=executor)
        self._handler = handler
        self._args = args or ()
        self._kwargs = kwargs or {}
        if inspect.iscoroutinefunction(handler):
            self._handler = handler(*self._args, **self._kwargs)
        self._is_coroutine = inspect.iscoroutine(self._handler)
        self._executing = threading.Lock()

    def __call__(self) -> None:
        """Run to the end, or a coroutine to its next wait."""
        if self._done or not self._executing.acquire(blocking=False):
            return
        try:
            if self._done:
                return
            if self._is_coroutine:
                try:
                    self._handler.send(None)
                except StopIteration as finished:
                    self.set_result(finished.value)
            else:
                self.set_result(self._handler(*self._args, **self._kwargs))
        except Exception as error:
            self.set_exception(error)
        finally:
            self._executing.release()

    def executing(self) -> bool:
        """Whether a step runs right now."""
        return self._executing.locked()

    def cancel(self) -> None:
        """Stop a coroutine; has no effect on a function that runs."""
        if self._is_coroutine and not self._done and not self.executing():
            self._handler.close()
        super().cancel()
