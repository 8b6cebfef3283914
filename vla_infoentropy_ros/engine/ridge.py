# SPDX-License-Identifier: Apache-2.0
"""How many visual tokens a pass can recompute before it takes longer than with hardly any."""

from __future__ import annotations

import statistics
import time
from weakref import WeakKeyDictionary

import torch
from torch import nn

from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan

_SHARES = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
_TOLERANCE = 1.05
_REPEATS = 5

# By model and visual tokens: the ridge is the machine's, and every measurement differs a little.
_MEASURED: WeakKeyDictionary[nn.Module, dict[int, int]] = WeakKeyDictionary()


def ridge_of(decoder: PartialDecoder) -> int:
    """`measure_ridge`, once for a model and number of visual tokens, however often they are asked
    for: another instruction must not wait for it, nor have another budget."""
    known = _MEASURED.setdefault(decoder.model, {})
    visual = decoder.layout.visual
    if visual not in known:
        known[visual] = measure_ridge(decoder)
    return known[visual]


def measure_ridge(decoder: PartialDecoder) -> int:
    """Visual tokens, of all views, up to which a prefill costs the same as with the fewest.

    At batch 1 a pass over few rows is bound by reading the weights, and every row below the
    ridge is free. Measured, because it depends on chip, type and kernels. Overwrites the cache.
    """
    layout = decoder.layout
    weight = decoder.model.embed_tokens.weight
    sequence = torch.zeros(
        (1, layout.prompt, weight.shape[1]), device=weight.device, dtype=weight.dtype
    )
    counts = sorted({max(1, round(share * layout.visual)) for share in _SHARES})
    with torch.inference_mode():
        times = {count: _median_s(decoder, sequence, count) for count in counts}
    limit = _TOLERANCE * times[counts[0]]
    ridge = counts[0]
    for count in counts[1:]:
        if times[count] > limit:
            break
        ridge = count
    return ridge


def _median_s(decoder: PartialDecoder, sequence: torch.Tensor, count: int) -> float:
    plan = TokenPlan.reuse(
        torch.arange(count, device=sequence.device), decoder.layout.visual
    )
    times = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        decoder.prefill(sequence, plan)
        if sequence.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first run warms up
