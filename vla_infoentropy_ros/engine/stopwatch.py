# SPDX-License-Identifier: Apache-2.0
"""Stage times of a step, on the monotonic clock; on a GPU, when the work is done."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch


class Stopwatch:
    """`lap(name)` books the time since the last lap under ``name``; laps of one name add up.

    On a GPU a lap is an event in its queue: nothing waits until the times are read.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._names: list[str] = []
        self._marks: list[Any] = [self._mark()]  # CUDA events, or s

    def lap(self, name: str) -> None:
        self._names.append(name)
        self._marks.append(self._mark())

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds by name; on a GPU, waits for the last lap."""
        if self._cuda:
            self._marks[-1].synchronize()
        stages: dict[str, float] = {}
        for name, (start, end) in zip(self._names, pairwise(self._marks), strict=True):
            spent = start.elapsed_time(end) if self._cuda else (end - start) * 1e3
            stages[name] = stages.get(name, 0.0) + spent
        return stages

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
