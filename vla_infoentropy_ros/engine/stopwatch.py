# SPDX-License-Identifier: Apache-2.0
"""Stage times of a step, on the monotonic clock; on a GPU, when the work is done."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """`lap(name)` books the time since the last lap under ``name``; laps of one name add up."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._start = self._last = self._now()
        self.stages_ms: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = self._now()
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + (now - self._last) * 1e3
        self._last = now

    @property
    def total_ms(self) -> float:
        return (self._last - self._start) * 1e3

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()
