# SPDX-License-Identifier: Apache-2.0
"""The timestep schedule: from image entropy towards attention (paper, eq 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection.settings import SelectionSettings

# floor(alpha k1 + (1 - alpha) k2) must be 54 at alpha = 0.3, not 53 for a rounding error.
_FLOOR_GUARD = 1e-9


@dataclass(frozen=True)
class Budgets:
    """alpha in [0, 1]; how many tokens per view each signal may claim."""

    alpha: float
    visual: int
    attention: int


def _linear(t: int, settings: SelectionSettings, concentrated: float) -> float:
    return min(t / settings.horizon, 1.0)


def _cosine(t: int, settings: SelectionSettings, concentrated: float) -> float:
    return (1.0 - math.cos(math.pi * min(t / settings.horizon, 1.0))) / 2.0


def _step(t: int, settings: SelectionSettings, concentrated: float) -> float:
    return float(2 * t >= settings.horizon)


def _constant(t: int, settings: SelectionSettings, concentrated: float) -> float:
    return settings.alpha


def _adaptive(t: int, settings: SelectionSettings, concentrated: float) -> float:
    return concentrated


_ALPHAS: dict[str, Callable[[int, SelectionSettings, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
    "constant": _constant,
    "adaptive": _adaptive,
}
SCHEDULES = tuple(_ALPHAS)


def budgets(
    schedule: str, t: int, settings: SelectionSettings, concentrated: float = 0.0
) -> Budgets:
    """Budgets at step t, the number of policy steps executed since the episode began.

    k_visual = floor(alpha k1 + (1 - alpha) k2), k_attention = floor(alpha k2 + (1 - alpha) k1).
    linear (paper): alpha = t / T, 1 past the horizon. cosine: the same with a slow start and
    end. step: 0 in the first half of the horizon, 1 after. constant: ``settings.alpha``.
    adaptive (ours): alpha = `concentration` of the attention, whatever the clock says.
    """
    check_schedule(schedule)
    alpha = _ALPHAS[schedule](t, settings, concentrated)
    k1, k2 = settings.k1, settings.k2
    visual = math.floor(alpha * k1 + (1 - alpha) * k2 + _FLOOR_GUARD)
    attention = math.floor(alpha * k2 + (1 - alpha) * k1 + _FLOOR_GUARD)
    return Budgets(alpha, visual, attention)


def concentration(mass: torch.Tensor) -> float:
    """1 - H / log N of an attention mass (N,): 0 when the policy looks everywhere alike, 1 when
    at a single token. Once it knows where to look, attention deserves the larger budget."""
    q = mass.double() / mass.double().sum().clamp_min(1e-300)
    entropy = -torch.special.xlogy(q, q).sum() / math.log(max(q.shape[0], 2))
    return min(max(1.0 - float(entropy), 0.0), 1.0)


def check_schedule(name: str) -> None:
    """Raise SettingError, listing the known schedules, for an unknown name."""
    if name not in _ALPHAS:
        raise SettingError(f"schedule={name!r} is unknown; choose one of {', '.join(SCHEDULES)}")
