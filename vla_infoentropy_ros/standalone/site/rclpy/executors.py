# SPDX-License-Identifier: Apache-2.0
"""Executors: wait for work, then run callbacks in one or several threads."""

from __future__ import annotations

import collections
import inspect
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from .clock_type import ClockType
from .context import Context
from .exceptions import InvalidHandle
from .guard_condition import GuardCondition
from .task import Future, Task
from .utilities import get_default_context

# Waits are cut into slices so that Python gets to run signal handlers.
SLICE_NS = 50_000_000
TASK_SLICE_NS = 2_000_000


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down by something else, such as a signal."""

    def __init__(self, *args: Any) -> None:
        """Build the text."""
        super().__init__(*(args or ("Context has been shutdown by an external source",)))


class TimeoutException(Exception):
    """Nothing was ready in time."""


class ConditionReachedException(Exception):
    """The condition that was waited for is met."""


class Executor:
    """Base of the executors."""

    def __init__(self, *, context: Context | None = None) -> None:
        """Create an executor without nodes."""
        self._context = get_default_context() if context is None else context
        self._nodes: list[Any] = []
        self._nodes_lock = threading.RLock()
        # Tasks that are not done, and those of them that may make a step before the next wait.
        self._tasks: list[Task] = []
        self._steps: collections.deque[Task] = collections.deque()
        self._tasks_lock = threading.Lock()
        self._ready: collections.deque[Any] = collections.deque()
        self._is_shutdown = False
        self._running = 0
        self._idle = threading.Condition()
        self._waiter = self._context.participant.create_waiter()
        self._guard = GuardCondition(None, None, self._context)
        self._context._wake_ups.add(self._guard)

    @property
    def context(self) -> Context:
        """The context of all nodes."""
        return self._context

    def add_node(self, node: Any) -> bool:
        """Serve a node; False when it was added before."""
        with self._nodes_lock:
            if node in self._nodes:
                return False
            self._nodes.append(node)
            node.executor = self
        self.wake()
        return True

    def remove_node(self, node: Any) -> None:
        """Stop serving a node."""
        with self._nodes_lock:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
            node._forget_executor(self)
        self.wake()

    def get_nodes(self) -> list[Any]:
        """Nodes that are served."""
        with self._nodes_lock:
            return list(self._nodes)

    def wake(self) -> None:
        """End the current wait, so that changes are seen."""
        if not self._is_shutdown:
            self._guard.trigger()

    def create_task(self, callback: Any, *args: Any, **kwargs: Any) -> Task:
        """Run a function or coroutine soon."""
        task = Task(callback, args, kwargs, executor=self)
        with self._tasks_lock:
            self._tasks.append(task)
            self._steps.append(task)
        self.wake()
        return task

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop; wait for callbacks that run, and return whether they ended in time."""
        if self._is_shutdown:
            return True
        self._guard.trigger()
        self._is_shutdown = True
        with self._idle:
            ended = self._idle.wait_for(lambda: self._running == 0, timeout_sec)
        with self._nodes_lock:
            for node in self._nodes:
                node._forget_executor(self)
            self._nodes = []
        return ended

    def spin(self) -> None:
        """Run callbacks until the context or the executor is shut down."""
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Run callbacks until a future is done."""
        # The wait has to end when the future is set from another thread.
        future.add_done_callback(lambda _: self.wake())
        limit = _deadline(timeout_sec)
        while self._context.ok() and not future.done() and not self._is_shutdown:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            self.spin_once_until_future_complete(future, left)
            if limit is not None and time.monotonic() >= limit:
                return

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, or return when none is ready in time."""
        self._spin_once(timeout_sec, lambda: False)

    def spin_once_until_future_complete(
        self, future: Future, timeout_sec: float | None = None
    ) -> None:
        """Run one callback unless the future is done."""
        self._spin_once(timeout_sec, future.done)

    def _spin_once(self, timeout_sec: float | None, condition: Callable[[], bool]) -> None:
        try:
            task = self._next_task(timeout_sec, condition)
        except (ShutdownException, TimeoutException, ConditionReachedException):
            return
        self._run(task)

    def _run(self, task: Task) -> None:
        raise NotImplementedError

    def _next_task(self, timeout_sec: float | None, condition: Callable[[], bool]) -> Task:
        """Wait for a task or callback that may run now.

        Raises TimeoutException, ShutdownException, ExternalShutdownException or
        ConditionReachedException when there is none.
        """
        limit = _deadline(timeout_sec)
        late = False
        while True:
            if self._is_shutdown:
                raise ShutdownException()
            if not self._context.ok():
                raise ExternalShutdownException()
            if condition():
                raise ConditionReachedException()
            task = self._take_task() or self._take_callback()
            if task is not None:
                return task
            if late:
                raise TimeoutException()
            self._wait(limit)
            self._find_ready()
            # Work that became ready at the last moment still gets its turn.
            late = limit is not None and time.monotonic() >= limit

    def _take_task(self) -> Task | None:
        with self._tasks_lock:
            self._tasks = [task for task in self._tasks if not (task.done() or task.cancelled())]
            while self._steps:
                task = self._steps.popleft()
                if not (task.done() or task.cancelled() or task.executing()):
                    return task
        return None

    def _take_callback(self) -> Task | None:
        """Take data for the next entity that is ready, and wrap its callback in a task."""
        while self._ready:
            entity = self._ready.popleft()
            group = entity.callback_group
            if not group.beginning_execution(entity):
                continue
            callback = None
            try:
                callback = entity.take_callback(self)
            except InvalidHandle:
                pass  # destroyed meanwhile
            finally:
                if callback is None:
                    group.ending_execution(entity)
            if callback is not None:
                return Task(self._call(entity, callback), executor=self)
        return None

    async def _call(self, entity: Any, callback: Callable[[], Any]) -> None:
        try:
            result = callback()
            if inspect.iscoroutine(result):
                await result
        finally:
            entity.callback_group.ending_execution(entity)
            self._callback_ended()

    def _callback_ended(self) -> None:
        """Called after each callback, in its thread."""

    def _make_step(self, task: Task) -> None:
        """Run a task to its end, or a coroutine until it waits."""
        with self._idle:
            self._running += 1
        try:
            task()
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
        # A coroutine that waits for something gets its next step after the next wait.
        with self._tasks_lock:
            if not task.done() and not any(item is task for item in self._tasks):
                self._tasks.append(task)

    def _find_ready(self) -> None:
        """Collect entities that are ready and tasks that wait."""
        with self._tasks_lock:
            self._steps = collections.deque(task for task in self._tasks if not task.executing())
        for entity in self._entities():
            if entity.is_ready() and not any(item is entity for item in self._ready):
                self._ready.append(entity)

    def _entities(self) -> list[Any]:
        """Everything that may run now."""
        return [
            entity
            for node in self.get_nodes()
            for entity in node._executable_entities()
            if entity.callback_group.can_execute(entity)
        ]

    def _wait(self, limit: float | None) -> None:
        """Block for one slice, or less when a timer or the limit comes first."""
        slice_ns = SLICE_NS
        if limit is not None:
            slice_ns = min(slice_ns, max(0, int((limit - time.monotonic()) * 1e9)))
        if self._tasks:
            # A coroutine may wait for anything, even a flag: look again soon.
            slice_ns = min(slice_ns, TASK_SLICE_NS)
        conditions = [self._guard.condition]
        for entity in self._entities():
            slice_ns = min(slice_ns, _time_left(entity))
            conditions += _conditions(entity)
        self._waiter.watch(conditions)
        self._waiter.wait(max(0, slice_ns))
        self._guard.take()

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


def _deadline(timeout_sec: float | None) -> float | None:
    return None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec


def _conditions(entity: Any) -> list[Any]:
    if hasattr(entity, "conditions"):
        return list(entity.conditions())
    condition = getattr(entity, "condition", None)
    return [] if condition is None else [condition]


def _time_left(entity: Any) -> int:
    """Nanoseconds that a wait may last for a timer; simulated time wakes the executor itself."""
    clock = getattr(entity, "clock", None)
    if clock is None or (clock.clock_type == ClockType.ROS_TIME and clock.ros_time_is_active):
        return SLICE_NS
    left = entity.time_until_next_call()
    return SLICE_NS if left is None else max(0, left)


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def _run(self, task: Task) -> None:
        self._make_step(task)
        task.result()  # raises what the callback raised


class MultiThreadedExecutor(Executor):
    """Runs callbacks in a pool of threads; callback groups decide what may overlap."""

    def __init__(self, num_threads: int | None = None, *, context: Context | None = None) -> None:
        """Create the pool, by default with one thread per processor and at least two."""
        super().__init__(context=context)
        if num_threads is None:
            num_threads = max(len(os.sched_getaffinity(0)), 2)
        if num_threads < 1:
            raise ValueError(f"num_threads is {num_threads}; it must be at least 1.")
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="rclpy")
        self._submitted: list[Task] = []

    def _run(self, task: Task) -> None:
        self._submitted.append(task)
        try:
            self._pool.submit(self._step, task)
        except RuntimeError:
            if not self._is_shutdown:
                raise
            self._step(task)  # taken just before the pool closed
        # Exceptions of callbacks surface in the thread that spins.
        finished = [item for item in self._submitted if item.done()]
        self._submitted = [item for item in self._submitted if not item.done()]
        for item in finished:
            item.result()

    def _step(self, task: Task) -> None:
        self._make_step(task)
        self.wake()

    def _callback_ended(self) -> None:
        self.wake()  # its group may have held other callbacks back

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop the executor and its threads."""
        ended = super().shutdown(timeout_sec)
        self._pool.shutdown(wait=timeout_sec is None)
        return ended
