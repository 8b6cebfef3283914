# SPDX-License-Identifier: Apache-2.0
"""What comes before a step and what comes after it, each on a thread of its own: pictures are
decoded and results are written while the policy computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_STOP_S = 0.05  # how long a thread may still wait for room that nobody makes any more


class _End:
    """Nothing follows."""


class Ahead(Generic[T]):
    """Takes from ``source`` before it is asked, at most ``room`` things. Use it as a context
    manager and iterate over it: what ``source`` raises is raised where it would have come."""

    def __init__(self, source: Iterator[T], room: int = 4) -> None:
        self._source = source
        self._ready: Queue[T | _End] = Queue(room)
        self._stopped = Event()
        self._thread = Thread(target=self._read, name="replay-ahead", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=_STOP_S)
            except Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        while not isinstance(thing := self._ready.get(), _End):
            yield thing
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            for thing in self._source:
                if self._stopped.is_set():
                    return
                self._ready.put(thing)
        except Exception as error:  # of whatever the source is made of: raised where it is read
            self._error = error
        self._ready.put(_End())


class Behind(Generic[T]):
    """Hands things to ``take``, in order, at most ``room`` of them waiting. Use it as a context
    manager: however the block is left, all that was put is taken, unless a second interrupt comes.

    What ``take`` raises is raised by the next `put`, or at the block's end; nothing is taken after
    it.
    """

    def __init__(self, take: Callable[[T], None], room: int = 8) -> None:
        self._take = take
        self._waiting: Queue[T | _End] = Queue(room)
        self._error: Exception | None = None
        self._dropped = False
        self._thread = Thread(target=self._write, name="replay-behind", daemon=True)

    def __enter__(self) -> Behind[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._finish()
        except KeyboardInterrupt:
            self._dropped = True
            self._finish()
            raise
        if self._error is not None and kind is None:
            raise self._error

    def _finish(self) -> None:
        self._waiting.put(_End())
        self._thread.join()

    def put(self, thing: T) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put(thing)

    def _write(self) -> None:
        while not isinstance(thing := self._waiting.get(), _End):
            if self._error is not None or self._dropped:
                continue  # whoever puts must not wait for room
            try:
                self._take(thing)
            except Exception as error:  # a full disk, say: raised where things are put
                self._error = error
