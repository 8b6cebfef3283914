# SPDX-License-Identifier: Apache-2.0
"""The moments at which variants differ most, with the frames around them; memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vla_infoentropy_ros.driving.driver import Step
from vla_infoentropy_ros.report.overlay import Picture
from vla_infoentropy_ros.report.replay_page import Strip
from vla_infoentropy_ros.report.views import draw_overlay

_BEFORE = 2  # frames shown before a moment; one follows it

Shot = tuple[str, Mapping[str, Step]]


@dataclass
class _Found:
    index: int
    score: float
    shots: list[Shot] = field(default_factory=list)


class WorstMoments:
    """Keeps the ``most`` worst that are at least ``gap`` frames apart."""

    def __init__(self, grid: tuple[int, int], most: int = 6, gap: int = 8) -> None:
        self._grid, self._most, self._gap = grid, most, gap
        self._found: list[_Found] = []
        self._unfinished: list[_Found] = []
        self._recent: deque[Shot] = deque(maxlen=_BEFORE)
        self._index = 0

    def see(self, caption: str, steps: Mapping[str, Step], score: float) -> None:
        """One frame as each variant handled it. score: how far they are apart, 0 is equal."""
        shot = caption, steps
        for found in self._unfinished:
            found.shots.append(shot)
        self._unfinished = []
        if self._counts(score):
            found = _Found(self._index, score, [*self._recent, shot])
            self._found.append(found)
            self._unfinished = [found]
        self._recent.append(shot)
        self._index += 1

    def _counts(self, score: float) -> bool:
        """Whether it belongs among the worst; makes room for it then."""
        if score <= 0:
            return False
        near = [found for found in self._found if self._index - found.index < self._gap]
        rivals = near or (self._found if len(self._found) >= self._most else [])
        if not rivals:
            return True
        least = min(rivals, key=lambda found: found.score)
        if least.score >= score:
            return False
        self._found.remove(least)
        return True

    def strips(self) -> Sequence[Strip]:
        """Worst first."""
        return [self._strip(f) for f in sorted(self._found, key=lambda f: -f.score)]

    def _strip(self, found: _Found) -> Strip:
        rows: dict[str, list[tuple[str, Picture]]] = {}
        for caption, steps in found.shots:
            for name, step in steps.items():
                result = step.result
                picture = draw_overlay(result.image, result.report.reasons, self._grid)
                told = f"{caption}: {result.report.fresh} tokens fresh"
                rows.setdefault(name, []).append((told, picture))
        moment = min(_BEFORE, len(found.shots) - 1)
        caption = found.shots[min(moment, found.index)][0]
        return Strip(f"{caption} (distance {found.score:.2f})", rows)
