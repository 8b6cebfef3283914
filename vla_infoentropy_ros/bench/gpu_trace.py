# SPDX-License-Identifier: Apache-2.0
"""What a GPU says of some work: kernels, the time they were busy, where the host waited."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def host_waits(run: Callable[[], object]) -> dict[str, int]:
    """Lines that made the host wait for the GPU, as ``file.py:line``, and how often.

    PyTorch names copies and read-backs; waiting for an event, as the stopwatch does once, it does
    not name.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return dict(Counter(f"{Path(each.filename).name}:{each.lineno}" for each in caught
                        if "synchroniz" in str(each.message)))


def kernels(run: Callable[[], object]) -> dict[str, Any]:
    """Kernels and copies of ``run`` on the GPU, and the milliseconds that they took: what a step
    takes beyond them, the GPU has waited for the host."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        run()
        torch.cuda.synchronize()
    return busy(trace.events())


def busy(events: Any) -> dict[str, Any]:
    """Of a profiler's events, those on the GPU: how many, and ms from start to end summed up."""
    spans = [each.time_range.elapsed_us() for each in events if each.device_type == DeviceType.CUDA]
    return {"kernels": len(spans), "gpu_busy_ms": sum(spans) / 1e3}
