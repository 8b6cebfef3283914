# SPDX-License-Identifier: Apache-2.0
"""Messages of one episode to records. Callbacks only store; the rest happens afterwards."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from vla_infoentropy_ros.foreign.text import MESSAGE, printable
from vla_infoentropy_ros.report.records import STAGES, EpisodeRecord, StepRecord


class EpisodeObserver:
    """Collects status and selection of every step until the simulator tells the outcome.

    A status is repeated once per second, so the last one of the episode before may come late:
    nothing counts before the first step of the new episode was seen. selector: the variant's
    name; messages carry the plain selector.
    """

    def __init__(self, selector: str, seed: int) -> None:
        self.selector, self.seed = selector, seed
        self._sent = selector.partition("+")[0]
        self.result: Any = None
        self._statuses: dict[int, Any] = {}
        self._selections: dict[int, Any] = {}
        self._lock = threading.Lock()
        self.last_progress_s = time.monotonic()

    def status(self, message: Any) -> None:
        """An InferenceStatus; `steps` counts the steps taken, so step t gives t + 1."""
        step = int(message.steps) - 1
        with self._lock:
            if message.selector == self._sent and self._is_next(self._statuses, step):
                self._statuses[step] = message
                self.last_progress_s = time.monotonic()

    def selection(self, message: Any) -> None:
        """A TokenSelection."""
        step = int(message.step)
        with self._lock:
            if message.selector == self._sent and self._is_next(self._selections, step):
                self._selections[step] = message

    def episode(self, message: Any) -> None:
        """An EpisodeResult; one of another seed is an old one kept for late subscribers."""
        with self._lock:
            if int(message.seed) == self.seed:
                self.result = message

    @property
    def steps(self) -> int:
        """Steps whose status has arrived."""
        with self._lock:
            return len(self._statuses)

    @property
    def complete(self) -> bool:
        """The outcome is known and every step's status and selection have arrived."""
        with self._lock:
            return self.result is not None and (
                set(self._statuses) == set(self._selections)
                and len(self._statuses) >= int(self.result.steps)
            )

    def record(self) -> EpisodeRecord:
        """What was collected; only after `result` is known."""
        with self._lock:
            result = self.result
            records = tuple(
                step_record(self._statuses[t], self._selections.get(t))
                for t in sorted(self._statuses)
            )
        reason = f"{result.reason}: {result.detail}" if result.detail else str(result.reason)
        return EpisodeRecord(
            selector=self.selector,
            seed=self.seed,
            instruction=printable(result.instruction),
            success=bool(result.success),
            steps=int(result.steps),
            reason=printable(reason, MESSAGE),
            records=records,
            command_latency_ms=tuple(float(value) for value in result.command_latency_ms),
        )

    @staticmethod
    def _is_next(seen: dict[int, Any], step: int) -> bool:
        return step == 0 if not seen else step > max(seen)


def step_record(status: Any, selection: Any | None) -> StepRecord:
    """One step from its InferenceStatus and its TokenSelection, which may be lost."""
    record = StepRecord(
        t=int(status.steps) - 1,
        latency_ms=float(status.latency_ms),
        stages_ms={stage: float(getattr(status, f"{stage}_ms")) for stage in STAGES},
        reasons=np.zeros(0, dtype=np.uint8),
        flops=float(status.flops),
        invalidated=str(status.invalidated),
        image_to_command_ms=float(status.image_to_command_ms),
        decoder_passes=float(status.decoder_passes),
    )
    if selection is None:
        return record
    record = replace(
        record,
        reasons=np.frombuffer(bytes(selection.reasons), dtype=np.uint8).copy(),
        fresh=int(selection.fresh),
        reused=int(selection.reused),
        pruned=int(selection.pruned),
    )
    if not (selection.k_visual or selection.k_attention):
        return record  # a selector without a schedule
    return replace(
        record,
        alpha=float(selection.alpha),
        k_visual=float(selection.k_visual),
        k_attention=float(selection.k_attention),
    )
