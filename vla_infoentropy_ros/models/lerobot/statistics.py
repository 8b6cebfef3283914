# SPDX-License-Identifier: Apache-2.0
"""Statistics of a LeRobot checkpoint: in a safetensors file beside each list of processor steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vla_infoentropy_ros.foreign.files import check_weights
from vla_infoentropy_ros.foreign.text import one_line, shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import LEROBOT_STATISTICS

EPSILON = 1e-8  # LeRobot's own, unless the step says another
MODES = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}
MIGRATE = (
    "if the checkpoint is older than LeRobot 0.4, convert it with LeRobot's "
    "migrate_policy_normalization.py; else copy what training wrote"
)


@dataclass(frozen=True)
class Scaling:
    """Of one feature: value = normalised * scale + offset, (n,) each, in the training set's units.

    low, high: (n,) the ends of what training saw. epsilon: what keeps a division by a scale of 0
    finite. guessed: the statistics tell no ends; they are taken to be three deviations away.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    epsilon: float = EPSILON
    guessed: bool = False

    @classmethod
    def around(
        cls, mean: NDArray[np.float64], std: NDArray[np.float64], epsilon: float = EPSILON
    ) -> Scaling:
        """By mean and standard deviation, (n,) each, alone."""
        return cls(mean, std, mean - 3 * std, mean + 3 * std, epsilon, guessed=True)

    def normalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., n) to (..., n)."""
        return (values - self.offset) / (self.scale + self.epsilon)

    def unnormalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., n) to (..., n)."""
        return values * self.scale + self.offset


def unscaled(size: int) -> Scaling:
    """Of so many numbers that are left as they are."""
    ones = np.ones(size)
    return Scaling(0.0 * ones, ones, -ones, ones, 0.0)


def check_one_source(path: Path, other: Path) -> None:
    """Raise PolicyError where two files keep statistics by one name that differ: training writes
    the same into both, and what un-normalises actions is not what normalised them then."""
    ours, theirs = _read(path), _read(other)
    for name in sorted(ours.keys() & theirs.keys()):
        if not np.array_equal(ours[name], theirs[name], equal_nan=True):  # of what nobody reads
            raise PolicyError(
                f"{path} and {other.name} hold different {name}: they are of two trainings; "
                "copy both from one"
            )


def read_scaling(
    owner: Path, file: str, step: str, feature: str, mode: str, size: int, epsilon: float
) -> Scaling:
    """By the statistics ``file`` that the step of that name in ``owner`` has. size: how many
    numbers the feature is."""
    if not re.fullmatch(LEROBOT_STATISTICS, file):
        raise PolicyError(
            f"{owner}: {step} has no state_file of statistics ({shown(file)}); {MIGRATE}"
        )
    path = owner.parent / file
    table = _read(path)

    def numbers(name: str) -> NDArray[np.float64]:
        values = table.get(f"{feature}.{name}")
        if values is None:
            raise PolicyError(
                f"{path} lacks {feature}.{name}, by which the policy normalises ({mode}); {MIGRATE}"
            )
        if values.shape != (size,) or not np.isfinite(values).all():
            raise PolicyError(
                f"{path}: {feature}.{name} of shape {values.shape} must be {size} finite numbers; "
                "take the statistics of the checkpoint's own training"
            )
        return values

    has_ends = f"{feature}.min" in table and f"{feature}.max" in table
    if mode == "MEAN_STD":
        mean, std = numbers("mean"), numbers("std")
        if (std < 0.0).any():
            raise PolicyError(f"{path}: {feature}.std holds a number below 0; {MIGRATE}")
        if not has_ends:
            return Scaling.around(mean, std, epsilon)
        return Scaling(mean, std, numbers("min"), numbers("max"), epsilon)
    low, high = (numbers(name) for name in MODES[mode])
    if (high < low).any():
        raise PolicyError(
            f"{path}: {feature}.{MODES[mode][1]} is below {MODES[mode][0]}; are the two swapped?"
        )
    half = np.where(high == low, epsilon, high - low) / 2.0
    return Scaling(low + half, half, low, high, 0.0)


def _read(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        check_weights(path, PolicyError)
        with safe_open(path, framework="np") as reader:
            return {name: np.asarray(reader.get_tensor(name), dtype=np.float64)
                    for name in set(reader.keys())}
    except (SafetensorError, OSError, TypeError) as error:
        raise PolicyError(f"{path} cannot be read ({one_line(error)}); fetch it again") from error
