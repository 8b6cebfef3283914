# SPDX-License-Identifier: Apache-2.0
"""What counts of successes say about a rate, and about two methods on equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

_Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson 95 % interval of a success rate; (0, 1) without trials.

    Unlike the normal approximation it stays inside [0, 1] and is usable at 20 of 20.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes={successes} of trials={trials}: need 0 <= successes <= trials")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    z2 = _Z95**2
    centre = rate + z2 / (2 * trials)
    spread = _Z95 * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    scale = 1 + z2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def sign_test(won: int, lost: int) -> float:
    """Two-sided exact p-value of ``won`` against ``lost`` among the pairs that differ (McNemar)."""
    trials = won + lost
    if trials == 0:
        return 1.0
    tail = sum(math.comb(trials, k) for k in range(min(won, lost) + 1))
    return min(1.0, float(2 * tail / 2**trials))


def paired_difference(won: int, lost: int, pairs: int) -> tuple[float, float]:
    """95 % interval of a difference of success rates on equal seeds; (-1, 1) without pairs.

    won, lost: pairs in which only the one or only the other method succeeded. Wald's, with half a
    pair added to each of the four cells (Agresti and Min 2005): some pairs that all agree do not
    show that there is no difference.
    """
    if won < 0 or lost < 0 or won + lost > pairs:
        raise ValueError(f"won={won}, lost={lost} of pairs={pairs}: need won + lost <= pairs")
    if pairs == 0:
        return -1.0, 1.0
    differ, more, count = won + lost + 1, won - lost, pairs + 2
    spread = _Z95 * math.sqrt(differ - more**2 / count) / count
    return max(-1.0, more / count - spread), min(1.0, more / count + spread)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean, by the normal distribution. Raises ValueError below two values."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} value(s): an interval needs two")
    middle, spread = mean(values), _Z95 * stdev(values) / math.sqrt(len(values))
    return middle - spread, middle + spread
