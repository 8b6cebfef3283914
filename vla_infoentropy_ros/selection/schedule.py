# SPDX-License-Identifier: Apache-2.0
"""The timestep schedule: from image entropy towards attention (paper, eq 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vla_infoentropy_ros.selection.settings import SelectionError, SelectionSettings

# floor(alpha k1 + (1 - alpha) k2) must be 54 at alpha = 0.3, not 53 for a rounding error.
_FLOOR_GUARD = 1e-9


@dataclass(frozen=True)
class Budgets:
    """alpha in [0, 1]; how many tokens per view each signal may claim."""

    alpha: float
    visual: int
    attention: int


def _linear(t: int, settings: SelectionSettings) -> float:
    return min(t / settings.horizon, 1.0)


def _constant(t: int, settings: SelectionSettings) -> float:
    return settings.alpha


_ALPHAS: dict[str, Callable[[int, SelectionSettings], float]] = {
    "linear": _linear,
    "constant": _constant,
}
SCHEDULES = tuple(_ALPHAS)


def budgets(schedule: str, t: int, settings: SelectionSettings) -> Budgets:
    """Budgets at step t, the number of policy steps executed since the episode began.

    k_visual = floor(alpha k1 + (1 - alpha) k2), k_attention = floor(alpha k2 + (1 - alpha) k1);
    past the horizon alpha stays 1.
    """
    check_schedule(schedule)
    alpha = _ALPHAS[schedule](t, settings)
    k1, k2 = settings.k1, settings.k2
    visual = math.floor(alpha * k1 + (1 - alpha) * k2 + _FLOOR_GUARD)
    attention = math.floor(alpha * k2 + (1 - alpha) * k1 + _FLOOR_GUARD)
    return Budgets(alpha, visual, attention)


def check_schedule(name: str) -> None:
    """Raise SelectionError, listing the known schedules, for an unknown name."""
    if name not in _ALPHAS:
        raise SelectionError(f"schedule={name!r} is unknown; choose one of {', '.join(SCHEDULES)}")
