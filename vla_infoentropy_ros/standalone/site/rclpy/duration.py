# SPDX-License-Identifier: Apache-2.0
"""Spans of time with nanosecond resolution."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Duration as DurationMsg

from .constants import S_TO_NS

_LIMIT = 2**63


class Duration:
    """A signed span of time."""

    def __init__(self, *, seconds: float = 0, nanoseconds: float = 0) -> None:
        """Add up seconds and nanoseconds."""
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -_LIMIT <= total < _LIMIT:
            raise OverflowError(
                f"A duration of {total} ns is too large to store. The limit is 2**63 - 1 ns."
            )
        self._nanoseconds = total

    @property
    def nanoseconds(self) -> int:
        """Length in nanoseconds."""
        return self._nanoseconds

    def to_msg(self) -> Any:
        """Return a builtin_interfaces/Duration."""
        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        return DurationMsg(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any) -> Duration:
        """Return the duration of a builtin_interfaces/Duration."""
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec)

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self._nanoseconds})"

    __str__ = __repr__

    def __hash__(self) -> int:
        return hash(self._nanoseconds)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Duration):
            return self._nanoseconds == other._nanoseconds
        return NotImplemented

    def __lt__(self, other: object) -> bool:
        if isinstance(other, Duration):
            return self._nanoseconds < other._nanoseconds
        return NotImplemented

    def __le__(self, other: object) -> bool:
        if isinstance(other, Duration):
            return self._nanoseconds <= other._nanoseconds
        return NotImplemented

    def __gt__(self, other: object) -> bool:
        if isinstance(other, Duration):
            return self._nanoseconds > other._nanoseconds
        return NotImplemented

    def __ge__(self, other: object) -> bool:
        if isinstance(other, Duration):
            return self._nanoseconds >= other._nanoseconds
        return NotImplemented


# Zero means "not set" in a QoS profile; this value means "for ever".
Infinite = Duration(nanoseconds=2**63 - 1)
