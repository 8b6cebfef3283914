# SPDX-License-Identifier: Apache-2.0
"""What is gathered while a recording is replayed, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vla_infoentropy_ros.replay.errors import counted
from vla_infoentropy_ros.replay.recording import RecordedAction
from vla_infoentropy_ros.replay.stepping import Moment
from vla_infoentropy_ros.replay.tracks import Gap, Track, severity
from vla_infoentropy_ros.replay.worst import WorstMoments
from vla_infoentropy_ros.report.replay_page import Apart, Curves, ReplayRecord
from vla_infoentropy_ros.report.statistics import BASELINE


class Results:
    """One track per variant, and the worst moments. names: variants, ours first. whole_s: what
    all of it took, reading and writing included. instructions: in how many moments each was in
    force. notes: on what was not compared, after `gaps`."""

    def __init__(self, names: Sequence[str], policy: Any) -> None:
        self._convention = policy.convention
        self._gripper = gripper = policy.convention.gripper
        self.tracks = {name: Track(name, gripper) for name in names}
        self.base = BASELINE if BASELINE in names else names[-1]
        self._worst = WorstMoments(policy.grid)
        self.first_ns, self.whole_s = 0, 0.0
        self.instructions: Counter[str] = Counter()
        self.notes: list[str] = []

    def see(self, moment: Moment) -> None:
        """Take in one moment."""
        self.first_ns = self.first_ns or moment.time_ns
        self.instructions[moment.instruction] += 1
        for name, step in moment.steps.items():
            self.tracks[name].add(step.result, moment.stamp_ns, moment.time_ns)
        base = moment.steps.get(self.base)
        if base is not None and len(moment.steps) > 1:
            score = max(severity(step.result, base.result, self._gripper)
                        for step in moment.steps.values())
            seconds = (moment.time_ns - self.first_ns) / 1e9
            self._worst.see(f"{seconds:.2f} s", moment.steps, score)

    def gaps(self, recorded: Sequence[RecordedAction]) -> list[Gap]:
        """Each variant against the base, then each against what was recorded."""
        base = self.tracks[self.base]
        live = Track.recorded(self._comparable(recorded))
        pairs = [(track, base) for track in self.tracks.values() if track is not base]
        pairs += [(track, live) for track in self.tracks.values()]
        return [gap for pair in pairs if (gap := Gap.between(*pair)) is not None]

    def _instruction(self) -> str:
        """The text that was in force; of several, with the frames of each."""
        if len(self.instructions) < 2:
            return "".join(self.instructions)
        return ", ".join(f"{text} ({counted(count, 'frame')})"
                         for text, count in self.instructions.items())

    def _comparable(self, recorded: Sequence[RecordedAction]) -> list[RecordedAction]:
        """Those whose numbers mean what the policy's do."""
        unlike = [action.unlike(self._convention) for action in recorded]
        self.notes = [f"{counted(count, 'recorded action')} not compared: {why}"
                      for why, count in Counter(filter(None, unlike)).items()]
        return [action for action, why in zip(recorded, unlike, strict=True) if not why]

    def figures(self, gaps: Sequence[Gap]) -> dict[str, Any]:
        """The part of replay.json that is about actions and their cost."""
        policy_s = sum(sum(track.latency_ms) for track in self.tracks.values()) / 1e3
        return {
            "instruction": self._instruction(),
            "instructions": dict(self.instructions),
            "seconds": {"whole": round(self.whole_s, 3), "policy": round(policy_s, 3)},
            "variants": {name: track.figures() for name, track in self.tracks.items()},
            "differences": [{"ours": g.ours, "base": g.base, **g.figures()} for g in gaps],
        }

    def record(
        self, summary: Mapping[str, Any], gaps: Sequence[Gap], notes: Sequence[str]
    ) -> ReplayRecord:
        """For the page."""
        def since(times_ns: Sequence[int]) -> list[float]:
            return [(time_ns - self.first_ns) / 1e9 for time_ns in times_ns]

        return ReplayRecord(
            summary=summary,
            curves={n: Curves(since(t.times_ns), t.latency_ms, t.recomputed)
                    for n, t in self.tracks.items()},
            apart=[Apart(g.ours, g.base, since(g.times_ns), g.difference, g.flips) for g in gaps],
            strips=self._worst.strips(),
            notes=notes,
        )
