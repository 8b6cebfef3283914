# SPDX-License-Identifier: Apache-2.0
"""The two times that driving goes by; whoever drives hands them in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Durations, deadlines and the expiry of commands go by steady time, so that they end even
    where a simulator stops with its clock; ages of observations by ROS time."""

    def steady_s(self) -> float:
        """Monotonic, s."""
        ...

    def now_ns(self) -> int:
        """ROS time, ns; may jump back."""
        ...


class SetClock:
    """Stands where it was set: recorded time, or a test's. Set back, its steady time stands."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns, self._steady_ns = now_ns, 0

    def set_ns(self, now_ns: int) -> None:
        self._steady_ns += max(0, now_ns - self._now_ns)
        self._now_ns = now_ns

    def pass_s(self, seconds: float) -> None:
        """Both times go on."""
        self.set_ns(self._now_ns + round(seconds * 1e9))

    def steady_s(self) -> float:
        return self._steady_ns / 1e9

    def now_ns(self) -> int:
        return self._now_ns
