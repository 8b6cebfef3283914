# SPDX-License-Identifier: Apache-2.0
"""What each variant did over a recording, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import gripper_opening
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.replay.recording import RecordedAction
from vla_infoentropy_ros.report.statistics import percentiles
from vla_infoentropy_ros.session import StepResult

AXES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
UNITS = ("m", "m", "m", "rad", "rad", "rad", "of the opening")
_GROUPS = {"translation": AXES[:3], "rotation": AXES[3:6]}
# What weighs alike where moments are ranked: a centimetre, three degrees, half the opening.
_SCALES = np.array([0.01, 0.01, 0.01, 0.05, 0.05, 0.05, 0.5])


@dataclass
class Track:
    """What one variant did, one entry per step. values: (7,) each, m and rad per control period;
    the last is the gripper's opening, 0 closed .. 1 open, whatever the policy's convention.
    stamps_ns: of the images; times_ns: of recording."""

    name: str
    gripper: str
    stamps_ns: list[int] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    recomputed: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    invalidated: list[str] = field(default_factory=list)

    def add(self, result: StepResult, stamp_ns: int, time_ns: int = 0) -> None:
        """Append one step."""
        report = result.report
        self._decided((stamp_ns, time_ns), result.action.values, tuple(result.action.token_ids),
                      self.gripper)
        self.recomputed.append(report.fresh / (report.fresh + report.reused + report.pruned))
        self.latency_ms.append(result.latency_ms)
        self.invalidated.append(result.invalidated)

    def _decided(
        self, when: tuple[int, int], values: Any, tokens: tuple[int, ...], gripper: str
    ) -> None:
        made = np.array(values, dtype=np.float64)
        made[6] = gripper_opening(made[6], gripper)
        self.stamps_ns.append(when[0])
        self.times_ns.append(when[1])
        self.values.append(made)
        self.tokens.append(tokens)

    @classmethod
    def recorded(cls, actions: Sequence[RecordedAction]) -> Track:
        """What the live node decided, each by its own gripper's convention; it tells nothing of
        cost here."""
        track = cls("recorded", "")
        for action in actions:
            track._decided((action.stamp_ns, action.time_ns), action.values, action.token_ids,
                           action.gripper)
        return track

    def figures(self) -> dict[str, Any]:
        """Latency, tokens and the reasons for full steps."""
        reasons = [reason for reason in self.invalidated if reason]
        return {
            "steps": len(self.values),
            "latency_ms": percentiles(self.latency_ms),
            "recomputed_fraction": round(float(np.mean(self.recomputed)), 4)
            if self.recomputed else None,
            "full_steps": len(reasons),
            "full_steps_by_reason": {reason: reasons.count(reason) for reason in set(reasons)},
        }


@dataclass(frozen=True)
class Gap:
    """ours - base where both acted on the same image, by stamp; where a clock that began anew gave
    a stamp twice, the nearest in times_ns, of recording. difference: (n, 7), units of
    `UNITS`. flips: (n,) bool, one would open the gripper and the other close it. equal: (n,) bool,
    the same tokens; without any, as where a policy acts by flow, the same numbers."""

    ours: str
    base: str
    stamps_ns: tuple[int, ...]
    times_ns: tuple[int, ...]
    difference: NDArray[np.float64]
    flips: NDArray[np.bool_]
    equal: NDArray[np.bool_]

    @classmethod
    def between(cls, ours: Track, base: Track) -> Gap | None:
        """None where they have no image in common."""
        back = _nearest(base, ours)
        pairs = [(i, j) for i, j in _nearest(ours, base).items() if back[j] == i]
        if not pairs:
            return None
        left = np.stack([ours.values[i] for i, _ in pairs])
        right = np.stack([base.values[j] for _, j in pairs])
        return cls(
            ours=ours.name,
            base=base.name,
            stamps_ns=tuple(ours.stamps_ns[i] for i, _ in pairs),
            times_ns=tuple(ours.times_ns[i] for i, _ in pairs),
            difference=left - right,
            flips=(left[:, 6] > 0.5) != (right[:, 6] > 0.5),
            equal=np.array([
                ours.tokens[i] == base.tokens[j] and (
                    bool(ours.tokens[i]) or np.array_equal(ours.values[i], base.values[j]))
                for i, j in pairs
            ]),
        )

    def figures(self) -> dict[str, Any]:
        """Per axis the largest, the 95th percentile and the mean of the absolute difference."""
        size = np.abs(self.difference)
        rows = {"max": size.max(axis=0), "p95": np.percentile(size, 95, axis=0),
                "mean": size.mean(axis=0)}
        return {
            "steps": len(self.stamps_ns),
            "equal_actions": int(self.equal.sum()),
            "gripper_flips": int(self.flips.sum()),
            **{name: dict(zip(AXES, np.round(row, 6).tolist(), strict=True))
               for name, row in rows.items()},
        }

    def exceeding(self, tolerance: Mapping[str, float]) -> list[str]:
        """A sentence for each axis that is further apart than it may be."""
        told = []
        for axis, most in tolerance.items():
            size = np.abs(self.difference[:, AXES.index(axis)])
            worst = int(size.argmax())
            if size[worst] > most:
                told.append(
                    f"{self.ours} and {self.base} differ in {axis} by {size[worst]:.4g} "
                    f"{UNITS[AXES.index(axis)]} at stamp {self.stamps_ns[worst] / 1e9:.3f} s "
                    f"({int((size > most).sum())} of {size.size} steps above --tolerance "
                    f"{axis}={most:g})"
                )
        return told


def _nearest(ours: Track, base: Track) -> dict[int, int]:
    """For each step of ours, by place, that of base on an image of the same stamp which is nearest
    in time of recording."""
    places: dict[int, list[int]] = {}
    for place, stamp in enumerate(base.stamps_ns):
        places.setdefault(stamp, []).append(place)
    return {
        i: min(places[stamp], key=lambda j: abs(base.times_ns[j] - time_ns))
        for i, (stamp, time_ns) in enumerate(zip(ours.stamps_ns, ours.times_ns, strict=True))
        if stamp in places
    }


def severity(ours: StepResult, base: StepResult, gripper: str) -> float:
    """How far two actions on one image are apart, in multiples of `_SCALES`; 0 is equal."""
    pair = [np.array(result.action.values, dtype=np.float64) for result in (ours, base)]
    for values in pair:
        values[6] = gripper_opening(values[6], gripper)
    return float(np.linalg.norm((pair[0] - pair[1]) / _SCALES))


def parse_tolerances(texts: Sequence[str]) -> dict[str, float]:
    """``dx=0.01,rotation=0.05`` and the like to a limit per axis. Raises SettingError."""
    limits: dict[str, float] = {}
    for text in (part for whole in texts for part in whole.split(",")):
        name, _, number = text.partition("=")
        try:
            most = float(number)
        except ValueError:
            most = -1.0
        axes = _GROUPS.get(name, (name,))
        if not set(axes) <= set(AXES) or not most >= 0.0:
            raise SettingError(f"--tolerance {text!r}: write it as NAME=NUMBER, not negative, in "
                               f"m, rad or openings; NAME is one of {', '.join((*_GROUPS, *AXES))}")
        limits |= dict.fromkeys(axes, most)
    return limits
