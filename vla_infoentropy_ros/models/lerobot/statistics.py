# SPDX-License-Identifier: Apache-2.0
"""Statistics of a LeRobot checkpoint: in a safetensors file beside each list of processor steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vla_infoentropy_ros.foreign.files import check_weights
from vla_infoentropy_ros.foreign.text import one_line, shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import LEROBOT_STATISTICS
from vla_infoentropy_ros.models.json_fields import Fields, read_json

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
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


@dataclass(frozen=True)
class ProcessorSteps:
    """The steps that LeRobot runs before or after a policy."""

    path: Path
    steps: tuple[Fields, ...]

    @classmethod
    def read(
        cls, path: Path, known: frozenset[str], idle: frozenset[str] = frozenset()
    ) -> ProcessorSteps:
        """known: names of steps that a loader carries out or can leave out; idle: of those that it
        can leave out where they are not enabled. Raises PolicyError for others: each may change
        what the policy sees or means."""
        if not path.is_file():
            raise PolicyError(
                f"{path} is missing, so nothing says by what numbers were normalised; {MIGRATE}"
            )
        fields = Fields(path.name, read_json(path))
        count = fields.values.get("steps")
        steps = fields.objects("steps", len(count) if isinstance(count, list) else 0)
        for step in steps:
            name = step.text("registry_name", "")
            if name in idle:
                settings = step.object("config", {})
                if settings.flag("enabled", False):
                    settings.refuse("enabled", f"false for {name}, which is not built in")
            elif name not in known:
                raise PolicyError(
                    f"{path}: the step {shown(name)} is not known here; name a checkpoint without "
                    f"it (known: {', '.join(sorted(known))})"
                )
        return cls(path, tuple(steps))

    def step(self, name: str) -> Fields:
        """The one of that name. Raises PolicyError where there is none."""
        found = [step for step in self.steps if step.text("registry_name") == name]
        if len(found) != 1:
            raise PolicyError(f"{self.path} has {len(found)} steps {name}, must be one; {MIGRATE}")
        return found[0]

    def renamed(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        """The cameras by the names that the robot knew them by, where a step renames them."""
        names: dict[str, Any] = {}
        for step in self.steps:
            if step.text("registry_name") == "rename_observations_processor":
                names |= step.object("config").object("rename_map", {}).values
        before = {str(new): str(old) for old, new in names.items()}
        return tuple(before.get(camera, camera) for camera in cameras)

    def scaling(self, step: str, feature: str, kind: str, size: int) -> Scaling:
        """How the step of that name (un)normalises a feature of so many numbers; kind: STATE or
        ACTION."""
        fields = self.step(step)
        settings = fields.object("config")
        norms = settings.object("norm_map")
        mode = norms.choice(kind, ("MEAN_STD", "IDENTITY", *MODES))
        norms.choice("VISUAL", ("IDENTITY",), "IDENTITY")  # the pictures are scaled as they are
        chosen = "normalize_observation_keys"  # of all that is no action; without it all of them
        if kind != "ACTION" and settings.has(chosen) and feature not in settings.texts(chosen):
            settings.refuse(chosen, f"a list with {feature}, or absent")
        epsilon = settings.number("eps", EPSILON)
        if mode == "IDENTITY":
            ones = np.ones(size)
            return Scaling(0.0 * ones, ones, -ones, ones, 0.0)
        name = fields.text("state_file", "")
        if not re.fullmatch(LEROBOT_STATISTICS, name):
            raise PolicyError(
                f"{self.path}: {step} has no state_file of statistics ({shown(name)}); {MIGRATE}"
            )
        return _scaling(self.path.parent / name, feature, mode, size, epsilon)


def check_one_source(before: ProcessorSteps, after: ProcessorSteps) -> None:
    """Raise PolicyError where both keep statistics by one name that differ: training writes the
    same into both, and what un-normalises actions is not what normalised them then."""
    files = [
        steps.path.parent / file
        for steps, step in ((before, "normalizer_processor"), (after, "unnormalizer_processor"))
        if (file := steps.step(step).text("state_file", ""))
    ]
    if len(files) < 2:
        return
    one, other = map(_read, files)
    for name in sorted(one.keys() & other.keys()):
        if not np.array_equal(one[name], other[name]):
            raise PolicyError(
                f"{files[0]} and {files[1].name} hold different {name}: they are of two trainings; "
                "copy both from one"
            )


def _scaling(path: Path, feature: str, mode: str, size: int, epsilon: float) -> Scaling:
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
