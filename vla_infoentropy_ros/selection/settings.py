# SPDX-License-Identifier: Apache-2.0
"""Every knob of token selection: one table from which errors, ROS parameters and docs are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SelectionError(ValueError):
    """A setting of the selection is unknown or out of range; the message says what is allowed."""


def _knob(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    return field(
        default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices}
    )


@dataclass(frozen=True)
class SelectionSettings:
    """Hyperparameters of all selectors and schedules; each selector reads the ones it names.

    Raises SelectionError, naming the parameter, its value and the allowed range.
    """

    k1: int = _knob(40, "lower end of the per-signal budgets, tokens per view (paper, eq 7)",
                    low=0, high=4096)
    k2: int = _knob(60, "upper end of the per-signal budgets, tokens per view (paper, eq 7)",
                    low=0, high=4096)
    horizon: int = _knob(100, "T: policy steps over which the schedule runs (paper, eq 7)",
                         low=1, high=1_000_000)
    alpha: float = _knob(0.5, "position of the constant schedule: 0 = image entropy gets k2, "
                         "1 = attention gets k2", low=0.0, high=1.0)
    staleness: str = _knob("pixel", "how a visual token is judged unchanged: pixel = cosine of "
                           "RGB patches (paper), drift = distance of projected embeddings",
                           choices=("pixel", "drift"))
    static_threshold: float = _knob(0.996, "pixel: least patch cosine of an unchanged token",
                                    low=-1.0, high=1.0)
    drift_threshold: float = _knob(0.25, "drift: largest relative embedding change, "
                                   "|e - e_ref| / |e_ref|, of an unchanged token",
                                   low=0.0, high=100.0)
    static_cap: int = _knob(150, "most tokens per view that may count as unchanged",
                            low=0, high=4096)
    grey_levels: int = _knob(256, "G: bins of the grey histogram of a patch",
                             choices=(16, 32, 64, 256))
    attention_mode: str = _knob("paper", "attention information from the mean attention s: paper "
                                "= softmax of s over words, renorm = s / sum s with low-mass "
                                "tokens gated to 0, temperature = softmax of s / tau",
                                choices=("paper", "renorm", "temperature"))
    temperature: float = _knob(1e-3, "tau of attention_mode temperature; s is about 1e-3",
                               low=1e-9, high=1e3)
    words: str = _knob("instruction", "text rows that count as words W",
                       choices=("instruction", "all_text"))
    reuse_from_layer: int = _knob(2, "info_entropy: first decoder layer that keeps the last "
                                  "step's keys and values; below it all tokens are recomputed",
                                  low=0, high=1024)
    fresh_tokens: int = _knob(32, "attention_drift, random, drift half: visual tokens recomputed "
                              "per view and step", low=0, high=4096)

    def __post_init__(self) -> None:
        for knob in fields(self):
            check_knob(knob.name, getattr(self, knob.name), knob.metadata)
        if self.k1 > self.k2:
            raise SelectionError(
                f"k1={self.k1} is above k2={self.k2}: k1 is the lower budget; swap the two"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> SelectionSettings:
        """From parameter names and values; unknown names are an error that lists the known."""
        known = {knob.name for knob in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SelectionError(f"unknown selection parameter {unknown[0]!r}; known: "
                                 f"{', '.join(sorted(known))}")
        return cls(**values)


def check_knob(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Raise SelectionError unless ``value`` lies in the range or among the choices declared."""
    choices, low, high = metadata["choices"], metadata["low"], metadata["high"]
    if choices is not None and value not in choices:
        raise SelectionError(f"{name}={value!r} is not among {', '.join(map(str, choices))}")
    if low is not None and not low <= value <= high:  # also catches NaN
        raise SelectionError(f"{name}={value!r} is outside [{low}, {high}]")
