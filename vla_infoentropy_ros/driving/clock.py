# SPDX-License-Identifier: Apache-2.0
"""The two times that driving goes by; whoever drives hands them in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Deadlines and time-outs go by steady time, so that they end even where a simulator stops with
    its clock; ages of observations by ROS time; commands by `MotionTime`."""

    def steady_s(self) -> float:
        """Monotonic, s."""
        ...

    def now_ns(self) -> int:
        """ROS time, ns; may jump back."""
        ...

    def simulated(self) -> bool:
        """ROS time is told by a simulator, and not the system's."""
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

    def simulated(self) -> bool:
        return False


class MotionTime:
    """What commands last by. Simulated time, where there is one: an action moves a robot in a slow
    simulator as far as in a fast one. Steady time, where there is none or it has stood still for
    ``standstill_s``: a command ends all the same. Not thread-safe."""

    def __init__(self, clock: Clock, standstill_s: float = 0.5) -> None:
        self._clock, self._standstill_s = clock, standstill_s
        self._steady_s, self._ros_ns = clock.steady_s(), clock.now_ns()
        self._moved_s = self._steady_s  # steady, when simulated time was last seen to go on
        self._now_s = self._steady_s

    def now_s(self) -> float:
        """Never runs backwards, nor jumps where time begins to be simulated."""
        steady_s, ros_ns = self._clock.steady_s(), self._clock.now_ns()
        passed_s, simulated_s = steady_s - self._steady_s, (ros_ns - self._ros_ns) / 1e9
        self._steady_s, self._ros_ns = steady_s, ros_ns
        if simulated_s:
            self._moved_s = steady_s
        if not self._clock.simulated():
            self._now_s += passed_s
        elif simulated_s > 0.0:
            self._now_s += simulated_s
        else:
            self._now_s += min(passed_s, max(0.0, steady_s - self._moved_s - self._standstill_s))
        return self._now_s
