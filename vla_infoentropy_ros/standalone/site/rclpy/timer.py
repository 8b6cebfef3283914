# SPDX-License-Identifier: Apache-2.0
"""Timers on any clock, and rates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ._rclpy_pybind11 import InvalidHandle
from .callback_groups import CallbackGroup
from .clock import SLICE_SEC, Clock, ClockChange, JumpThreshold, TimeJump
from .context import Context
from .duration import Duration
from .exceptions import ROSInterruptException
from .utilities import get_default_context


class Timer:
    """Calls a function each time that a period has passed on a clock."""

    def __init__(
        self,
        callback: Callable[..., Any] | None,
        callback_group: CallbackGroup | None,
        timer_period_ns: int,
        clock: Clock,
        *,
        context: Context | None = None,
        autostart: bool = True,
        on_reset: Callable[[], Any] | None = None,
    ) -> None:
        """Start counting now, unless ``autostart`` is False."""
        if timer_period_ns < 0:
            raise ValueError(f"timer period must not be negative, got {timer_period_ns} ns")
        self._context = get_default_context() if context is None else context
        self._clock = clock
        self._period = int(timer_period_ns)
        self.callback = callback
        self.callback_group = callback_group
        self._canceled = not autostart
        self._alive = True
        self._on_reset = on_reset
        self._credit: int | None = None
        self._last_call = self._clock.now_ns()
        self._next_call = self._last_call + self._period
        # Every jump matters: time can reach the next call, or move back behind the last one.
        threshold = JumpThreshold(
            min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1)
        )
        self._jump_handle = clock.create_jump_callback(
            threshold, pre_callback=self._before_jump, post_callback=self._after_jump
        )

    @property
    def clock(self) -> Clock:
        """The clock that is counted on."""
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        """Period in nanoseconds."""
        return self._period

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._period = int(value)

    def is_ready(self) -> bool:
        """Whether the callback is due."""
        return self._alive and not self._canceled and self._clock.now_ns() >= self._next_call

    def is_canceled(self) -> bool:
        """Whether the timer is stopped."""
        return self._canceled

    def cancel(self) -> None:
        """Stop the timer."""
        self._canceled = True

    def reset(self) -> None:
        """Start the timer anew."""
        self._last_call = self._clock.now_ns()
        self._next_call = self._last_call + self._period
        self._canceled = False
        if self._on_reset is not None:
            self._on_reset()

    def time_since_last_call(self) -> int:
        """Nanoseconds since the last call."""
        return self._clock.now_ns() - self._last_call

    def time_until_next_call(self) -> int | None:
        """Nanoseconds until the next call; negative when late, None when stopped."""
        return None if self._canceled else self._next_call - self._clock.now_ns()

    def take(self) -> bool:
        """Note that the callback runs now; periods that were missed are skipped."""
        if not self.is_ready():
            return False
        now = self._clock.now_ns()
        self._last_call = now
        self._next_call += self._period
        if self._next_call < now:
            if self._period == 0:
                self._next_call = now
            else:
                behind = now - self._next_call
                self._next_call += (1 + (behind - 1) // self._period) * self._period
        return True

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Return the callback when it is due, and schedule the next call."""
        return self.callback if self.take() else None

    def destroy(self) -> None:
        """Stop for good."""
        self._alive = False
        self._jump_handle.unregister()

    def _before_jump(self) -> None:
        now = self._clock.now_ns()
        # How much of the period has passed; kept when the clock changes to another source.
        self._credit = None if now == 0 else self._period - (self._next_call - now)

    def _after_jump(self, jump: TimeJump) -> None:
        now = self._clock.now_ns()
        if jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            if now == 0:
                return
            credit = self._credit or 0
            self._last_call = now - credit
            self._next_call = self._last_call + self._period
        elif now < self._last_call:
            self._last_call = now
            self._next_call = now + self._period
        if self._on_reset is not None:
            self._on_reset()


class Rate:
    """Sleeps at a fixed rate; needs an executor that spins in another thread."""

    def __init__(self, timer: Timer, *, context: Context) -> None:
        """Wake on each call of the timer."""
        self._timer = timer
        self._context = context
        self._event = threading.Event()
        self._destroyed = False
        timer.callback = self._event.set

    def destroy(self) -> None:
        """Wake the sleeper for good."""
        self._destroyed = True
        self._event.set()

    def sleep(self) -> None:
        """Block until the timer fires."""
        if self._destroyed:
            raise RuntimeError("Rate cannot sleep because it has been destroyed")
        if not self._timer._alive:
            raise InvalidHandle("Rate cannot sleep because the timer has been destroyed")
        while not self._event.wait(SLICE_SEC):
            if not self._context.ok():
                raise ROSInterruptException()
        self._event.clear()
        if not self._context.ok():
            raise ROSInterruptException()
