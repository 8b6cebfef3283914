# SPDX-License-Identifier: Apache-2.0
"""From chunks of actions to one action at a time, each at the time for which it was meant."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_ROUNDING_S = 1e-6  # an action is not put off to the next tick for the last digit of a time


@dataclass(frozen=True)
class Chunk:
    """rows: (H, 7) actions. Row k is meant for the k-th control period, of ``period_s`` seconds,
    after the observation, which was made at ``observed_s`` of a monotonic clock. A chunk of one
    row is meant for whenever it comes."""

    rows: NDArray[np.float64]
    observed_s: float
    period_s: float

    def row_at(self, time_s: float) -> int:
        """The row that is meant for this time; H and more: none."""
        if len(self.rows) == 1:
            return 0
        return max(0, math.floor((time_s - self.observed_s + _ROUNDING_S) / self.period_s))

    def begins_s(self, row: int) -> float:
        return self.observed_s + row * self.period_s

    def blended(self, before: Chunk, weight: float) -> Chunk:
        """Motions moved by ``weight`` towards those that ``before`` has for the same time: its
        row in the middle of each of ours. The gripper is ours alone: half closed is no plan."""
        rows = self.rows.copy()
        for row in range(len(rows)):
            other = before.row_at(self.begins_s(row) + self.period_s / 2.0)
            if other < len(before.rows):
                rows[row, :6] += weight * (before.rows[other, :6] - rows[row, :6])
        return replace(self, rows=rows)


class ChunkExecutor:
    """Which action is due. Not thread-safe; times are seconds of one monotonic clock.

    Of a chunk ``execute`` rows are carried out, from the first that is not late. A chunk that comes
    while rows of the one before are due waits until these are done, and then begins with the row
    that is meant for that moment; where ``execute`` is 1 it takes over at once.
    """

    def __init__(self) -> None:
        self._chunk: Chunk | None = None
        self._waiting: Chunk | None = None
        self._given = self._end = 0  # rows: the last one given, and the first not to be

    def clear(self) -> None:
        """Nothing is due any more."""
        self._chunk = self._waiting = None

    def put(self, chunk: Chunk, now_s: float, execute: int, blend: float) -> int | None:
        """A chunk has come; its row for now, whether it begins at once or waits. None: its last
        row is late already, and it is not taken."""
        row = chunk.row_at(now_s)
        if row >= len(chunk.rows):
            return None
        if self._chunk is not None and blend > 0.0:
            chunk = chunk.blended(self._chunk, blend)
        if execute > 1 and self._left_s(now_s) > 0.0:
            self._waiting = chunk
        else:
            self._take(chunk, now_s, execute)
        return row

    def due(self, now_s: float, execute: int) -> NDArray[np.float64] | None:
        """The action (7,) that begins now; each is given once. None: go on as before."""
        if self._waiting is not None and self._left_s(now_s) <= 0.0:
            self._take(self._waiting, now_s, execute)
        chunk = self._chunk
        if chunk is None:
            return None
        row = chunk.row_at(now_s)
        if row == self._given:
            return None
        if row >= self._end:
            self._given = self._end
            return None
        self._given = row
        action: NDArray[np.float64] = chunk.rows[row]
        return action

    def wants(self, now_s: float, lead_s: float) -> bool:
        """Whether a chunk is needed that takes ``lead_s`` to come."""
        return self._waiting is None and self._left_s(now_s) <= lead_s + _ROUNDING_S

    @property
    def observed_s(self) -> float:
        """When what the due action is based on was seen; infinite without one."""
        return math.inf if self._chunk is None else self._chunk.observed_s

    def _take(self, chunk: Chunk, now_s: float, execute: int) -> None:
        self._chunk, self._waiting = chunk, None
        self._given = -1
        self._end = min(chunk.row_at(now_s) + execute, len(chunk.rows))

    def _left_s(self, now_s: float) -> float:
        """Until the rows to be carried out are done."""
        if self._chunk is None or self._given >= self._end:
            return 0.0
        return self._chunk.begins_s(self._end) - now_s - _ROUNDING_S
