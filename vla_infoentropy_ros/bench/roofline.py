# SPDX-License-Identifier: Apache-2.0
"""What a device does at its best: the floor under the time of a step."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

REPEATS = 10


def roofline(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """What this device does with large operands: bytes/s of a copy, read and written, and FLOP/s
    of a matrix product."""
    gpu = device.type == "cuda"
    edge = 8192 if gpu else 1024
    one = torch.randn(edge, edge, device=device).to(dtype)
    product_s = median_ms(lambda: one @ one, device) / 1e3
    source = torch.zeros(2**30 if gpu else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = median_ms(lambda: target.copy_(source), device) / 1e3
    return {"flops_per_s": 2 * edge**3 / product_s, "bytes_per_s": 2 * source.numel() / copy_s}


def median_ms(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of ``run``, its work on the device included; one run warms up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times[1:]))
