# SPDX-License-Identifier: Apache-2.0
"""Clocks, and callbacks for when they jump."""

from __future__ import annotations

import threading
import time as system_time
import weakref
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import Any

from .clock_type import ClockType
from .context import Context
from .duration import Duration
from .exceptions import NotInitializedException
from .time import Time
from .utilities import get_default_context

# Waits are cut into slices so that Python gets to run signal handlers.
SLICE_SEC = 0.05


class ClockChange(IntEnum):
    """What happened to the source of a ROS clock."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """When a jump is worth a callback."""

    def __init__(
        self,
        *,
        min_forward: Duration | None,
        min_backward: Duration | None,
        on_clock_change: bool = True,
    ) -> None:
        """Take the smallest jumps to report; ``None`` for a direction reports none."""
        for name, value in (("min_forward", min_forward), ("min_backward", min_backward)):
            if value is not None and not isinstance(value, Duration):
                raise TypeError(f"{name} must be a Duration or None, not {type(value).__name__}.")
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError(f"min_forward must be a positive non-zero duration, not {min_forward}")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError(
                f"min_backward must be a negative non-zero duration, not {min_backward}"
            )
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError(
                "At least one of min_forward, min_backward and on_clock_change must be set."
            )
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change

    def matches(self, change: ClockChange, delta: int) -> bool:
        """Whether a jump of ``delta`` nanoseconds is worth a callback."""
        if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return self.on_clock_change
        if self.min_forward is not None and delta >= self.min_forward.nanoseconds:
            return True
        return self.min_backward is not None and delta <= self.min_backward.nanoseconds


class TimeJump:
    """One jump."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        """Keep change and size."""
        self._clock_change = clock_change
        self._delta = delta

    @property
    def clock_change(self) -> ClockChange:
        """What happened to the source."""
        return self._clock_change

    @property
    def delta(self) -> Duration:
        """How far time moved."""
        return self._delta


class JumpHandle:
    """Keeps a jump callback registered until it is unregistered or garbage collected."""

    def __init__(
        self,
        *,
        clock: Clock,
        threshold: JumpThreshold,
        pre_callback: Callable[[], Any] | None,
        post_callback: Callable[[TimeJump], Any] | None,
    ) -> None:
        """Register."""
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        for name, value in (("pre_callback", pre_callback), ("post_callback", post_callback)):
            if value is not None and not callable(value):
                raise ValueError(f"{name} must be callable if given")
        self._clock: Clock | None = clock
        self.threshold = threshold
        self.pre_callback = pre_callback
        self.post_callback = post_callback
        clock._jump_handles.append(weakref.ref(self))

    def unregister(self) -> None:
        """Stop the callbacks."""
        if self._clock is not None:
            handles = self._clock._jump_handles
            handles[:] = [item for item in handles if item() not in (None, self)]
        self._clock = None

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unregister()


class Clock:
    """A source of time."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        """Return a ROSClock for ROS time."""
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        return super().__new__(ROSClock if clock_type == ClockType.ROS_TIME else cls)

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        """Set the kind of clock."""
        self._clock_type = clock_type
        self._jump_handles: list[weakref.ReferenceType[JumpHandle]] = []

    @property
    def clock_type(self) -> ClockType:
        """Kind of clock."""
        return self._clock_type

    def __repr__(self) -> str:
        return f"Clock(clock_type={self._clock_type.name})"

    def now(self) -> Time:
        """Return the current time."""
        return Time(nanoseconds=self.now_ns(), clock_type=self._clock_type)

    def now_ns(self) -> int:
        """Return the current time in nanoseconds."""
        if self._clock_type == ClockType.STEADY_TIME:
            return system_time.monotonic_ns()
        return system_time.time_ns()

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], Any] | None = None,
        post_callback: Callable[[TimeJump], Any] | None = None,
    ) -> JumpHandle:
        """Register callbacks for jumps; keep the returned handle."""
        return JumpHandle(
            clock=self, threshold=threshold, pre_callback=pre_callback, post_callback=post_callback
        )

    def sleep_until(self, until: Time, context: Context | None = None) -> bool:
        """Sleep until a time; False when shutdown or a change of the source came first."""
        context = get_default_context() if context is None else context
        if not context.ok():
            raise NotInitializedException()
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        wake, changed = threading.Event(), threading.Event()

        def on_jump(jump: TimeJump) -> None:
            if jump.clock_change in (
                ClockChange.ROS_TIME_ACTIVATED,
                ClockChange.ROS_TIME_DEACTIVATED,
            ):
                changed.set()
            wake.set()

        threshold = JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=None)
        with self.create_jump_callback(threshold, post_callback=on_jump):
            while context.ok() and not changed.is_set():
                left = (until.nanoseconds - self.now_ns()) / 1e9
                if left <= 0:
                    return True
                wake.wait(min(left, SLICE_SEC))
                wake.clear()
        return False

    def sleep_for(self, rel_time: Duration, context: Context | None = None) -> bool:
        """Sleep for a span of this clock's time."""
        return self.sleep_until(self.now() + rel_time, context)

    def _jump(self, change: ClockChange, apply: Callable[[], Any], delta: int) -> None:
        handles = [handle for item in list(self._jump_handles) if (handle := item()) is not None]
        affected = [handle for handle in handles if handle.threshold.matches(change, delta)]
        for handle in affected:
            if handle.pre_callback is not None:
                handle.pre_callback()
        apply()
        for handle in affected:
            if handle.post_callback is not None:
                handle.post_callback(TimeJump(change, Duration(nanoseconds=delta)))


class ROSClock(Clock):
    """The system clock, or with ``use_sim_time`` the last message on /clock."""

    def __new__(cls) -> ROSClock:
        """Create the object."""
        return object.__new__(cls)

    def __init__(self, *, clock_type: ClockType = ClockType.ROS_TIME) -> None:
        """Start on system time."""
        super().__init__(clock_type=ClockType.ROS_TIME)
        self._active = False
        self._override = 0

    @property
    def ros_time_is_active(self) -> bool:
        """Whether simulated time is in use."""
        return self._active

    def now_ns(self) -> int:
        """Return the current time in nanoseconds; 0 before the first /clock message."""
        return self._override if self._active else system_time.time_ns()

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        before = self.now_ns()
        after = self._override if enabled else system_time.time_ns()
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED

        def apply() -> None:
            self._active = enabled

        self._jump(change, apply, after - before)

    def set_ros_time_override(self, time: Time) -> None:
        """Set simulated time."""
        if not isinstance(time, Time):
            raise TypeError(
                f"Time must be specified as rclpy.time.Time. Received type: {type(time)}"
            )
        new = time.nanoseconds

        def apply() -> None:
            self._override = new

        if self._active:
            self._jump(ClockChange.ROS_TIME_NO_CHANGE, apply, new - self._override)
        else:
            apply()
