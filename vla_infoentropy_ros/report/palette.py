# SPDX-License-Identifier: Apache-2.0
"""One name and colour per selector and per reason, the same in charts, overlays and legends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.selection import reasons as bits


@dataclass(frozen=True)
class Category:
    """Why a visual token was recomputed, or that it was not; colour is RGB."""

    key: str
    label: str
    colour: tuple[int, int, int]

    @property
    def hex(self) -> str:
        """The colour for CSS and SVG."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


CATEGORIES = (
    Category("refresh", "full refresh", (148, 163, 184)),
    Category("both", "image entropy and attention", (22, 163, 120)),
    Category("entropy", "image entropy", (245, 158, 11)),
    Category("attention", "attention", (37, 120, 235)),
    Category("stale", "changed (pixels or drift)", (219, 39, 140)),
    Category("age", "its turn (age limit, cap)", (139, 92, 246)),
    Category("top_up", "top-up", (132, 190, 30)),
    Category("control", "random control", (234, 88, 12)),
    Category("pruned", "pruned", (30, 30, 30)),
    Category("reused", "reused from the cache", (226, 232, 240)),
)
"""In drawing order: a token with several reasons shows the first that applies."""
REUSED_INDEX = len(CATEGORIES) - 1

_SELECTOR_COLOURS = {
    "dense": "#64748b",
    "info_entropy": "#d97706",
    "attention_drift": "#2563eb",
    "attention_drift+window": "#0e7490",
    "vla_cache": "#0d9488",
    "vla_pruner": "#9333ea",
    "fastv": "#be185d",
    "random": "#ea580c",
    "stale": "#b91c1c",
}


def selector_colour(name: str) -> str:
    """CSS colour of a selector; grey for one unknown here."""
    return _SELECTOR_COLOURS.get(name, "#78716c")


def categorise(reasons: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Bit masks (N,) to indices into `CATEGORIES` (N,)."""

    def has(mask: int) -> NDArray[np.bool_]:
        return np.asarray(reasons & np.uint8(mask), dtype=np.bool_)

    entropy, attention = has(bits.IMAGE_ENTROPY), has(bits.ATTENTION)
    tests = [
        has(bits.REFRESH),
        entropy & attention,
        entropy,
        attention,
        has(bits.STALE),
        has(bits.AGE),
        has(bits.TOP_UP),
        has(bits.CONTROL),
        has(bits.PRUNED),
    ]
    return np.select(tests, list(range(len(tests))), default=REUSED_INDEX)


def category_counts(reasons: NDArray[np.uint8]) -> list[int]:
    """How many tokens fall in each of `CATEGORIES`."""
    found = np.bincount(categorise(reasons), minlength=len(CATEGORIES))
    return [int(count) for count in found]
