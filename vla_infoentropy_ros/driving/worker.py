# SPDX-License-Identifier: Apache-2.0
"""Who works on frames: a thread that takes the newest only, or whoever brings one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
Job = TypeVar("Job", contravariant=True)


class Work(Protocol[Job]):
    """See `Worker`, whose methods these are."""

    @property
    def alive(self) -> bool: ...
    def start(self) -> None: ...
    def post(self, job: Job) -> bool: ...
    def call(self, request: Callable[[], None]) -> None: ...
    def stop(self, timeout_s: float) -> bool: ...


MakeWorker = Callable[[Callable[[T], None]], Work[T]]
"""From what is to be done with each job."""


class Worker(Generic[T]):
    """Runs requests in order and, between them, the newest job: a mailbox of one.

    A request (a reset, a new instruction) is therefore applied at a step boundary, never in the
    middle of a step; those that wait when it is stopped are run before it ends. ``work`` and the
    requests must not raise: what they raise ends the thread, which `alive` tells.
    """

    def __init__(self, work: Callable[[T], None], name: str = "inference") -> None:
        self._work = work
        self._job: T | None = None
        self._requests: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def post(self, job: T) -> bool:
        """Offer a job; true if it pushed out an older one that was never begun."""
        with self._wake:
            replaced = self._job is not None
            self._job = job
            self._wake.notify()
        return replaced

    def call(self, request: Callable[[], None]) -> None:
        """Run ``request`` in the thread before the next job, or here where the thread was stopped;
        a job not yet begun is dropped."""
        with self._wake:
            self._job = None
            if not self._ended:
                self._requests.append(request)
                self._wake.notify()
                return
        request()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after the step in progress; false if it did not end in time."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._requests or self._job is not None):
                    self._wake.wait()
                request = self._requests.popleft() if self._requests else None
                if self._stopping and request is None:
                    self._ended = True
                    return
                if request is None:
                    job, self._job = self._job, None
            if request is not None:
                request()
            elif job is not None:
                self._work(job)


class Inline(Generic[T]):
    """Works at once, in the thread that brings the job: nothing is dropped, all is repeatable."""

    alive = True

    def __init__(self, work: Callable[[T], None]) -> None:
        self._work = work

    def start(self) -> None: ...

    def post(self, job: T) -> bool:
        self._work(job)
        return False

    def call(self, request: Callable[[], None]) -> None:
        request()

    def stop(self, timeout_s: float) -> bool:
        return True
