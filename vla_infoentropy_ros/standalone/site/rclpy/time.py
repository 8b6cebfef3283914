# SPDX-License-Identifier: Apache-2.0
"""Points in time, each bound to the kind of clock that it was read from."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time as TimeMsg

from .clock_type import ClockType
from .constants import S_TO_NS
from .duration import Duration

_LIMIT = 2**63

CONVERSION_CONSTANT = S_TO_NS


class Time:
    """A point in time; zero means that the clock has not been set."""

    def __init__(
        self,
        *,
        seconds: float = 0,
        nanoseconds: float = 0,
        clock_type: ClockType = ClockType.SYSTEM_TIME,
    ) -> None:
        """Add up seconds and nanoseconds since the epoch of the clock."""
        if not isinstance(clock_type, ClockType):
            raise TypeError(f"clock_type must be a ClockType, not {type(clock_type).__name__}.")
        if seconds < 0:
            raise ValueError(f"seconds is {seconds}; a time cannot be negative.")
        if nanoseconds < 0:
            raise ValueError(f"nanoseconds is {nanoseconds}; a time cannot be negative.")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= _LIMIT:
            raise OverflowError(f"A time of {total} ns is too large; the limit is 2**63 - 1 ns.")
        self._nanoseconds = total
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        """Nanoseconds since the epoch of the clock."""
        return self._nanoseconds

    @property
    def clock_type(self) -> ClockType:
        """Kind of clock that the time belongs to."""
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        """Return whole seconds and the nanoseconds left over."""
        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        return seconds, nanoseconds

    def to_msg(self) -> Any:
        """Return a builtin_interfaces/Time."""
        seconds, nanoseconds = self.seconds_nanoseconds()
        return TimeMsg(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        """Return the time of a builtin_interfaces/Time."""
        if not isinstance(msg, TimeMsg):
            raise TypeError(f"Must pass a builtin_interfaces.msg.Time, not {type(msg).__name__}.")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __hash__(self) -> int:
        return hash((self._nanoseconds, self._clock_type))

    def __add__(self, other: object) -> Time:
        if not isinstance(other, Duration):
            return NotImplemented
        return self._moved(other.nanoseconds, "Addition")

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Time):
            self._require_same_clock(other, "subtract")
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            return self._moved(-other.nanoseconds, "Subtraction")
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare")
        return self._nanoseconds == other._nanoseconds

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare")
        return self._nanoseconds < other._nanoseconds

    def __le__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare")
        return self._nanoseconds <= other._nanoseconds

    def __gt__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare")
        return self._nanoseconds > other._nanoseconds

    def __ge__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare")
        return self._nanoseconds >= other._nanoseconds

    def _moved(self, nanoseconds: int, operation: str) -> Time:
        total = self._nanoseconds + nanoseconds
        if total >= _LIMIT:
            raise OverflowError(f"{operation} leads to overflow in C storage.")
        if total < 0:
            raise ValueError(f"{operation} leads to negative time.")
        return Time(nanoseconds=total, clock_type=self._clock_type)

    def _require_same_clock(self, other: Time, operation: str) -> None:
        if self._clock_type != other._clock_type:
            raise TypeError(
                f"Can't {operation} times with different clock types: "
                f"{self._clock_type.name} and {other._clock_type.name}."
            )
