# SPDX-License-Identifier: Apache-2.0
"""How far two variants are apart, and where most."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.replay.recording import RecordedAction
from vla_infoentropy_ros.replay.results import Results
from vla_infoentropy_ros.replay.tracks import AXES, Gap, Track, parse_tolerances, severity
from vla_infoentropy_ros.replay.worst import WorstMoments


def result(*values: float, tokens: tuple[int, ...] = (1, 2), fresh: int = 4) -> Any:
    """The part of a StepResult that is read."""
    filled = [*values, *[0.0] * (7 - len(values))]
    report = SimpleNamespace(fresh=fresh, reused=16 - fresh, pruned=0,
                             reasons=np.zeros(16, np.uint8))
    return SimpleNamespace(
        action=SimpleNamespace(values=np.array(filled), token_ids=tokens), report=report,
        latency_ms=5.0, invalidated="", image=np.zeros((1, 8, 8, 3), np.uint8),
    )


def track(name: str, steps: dict[int, Any], gripper: str = "one_is_open") -> Track:
    made = Track(name, gripper)
    for stamp, step in steps.items():
        made.add(step, stamp)
    return made


def recorded(gripper: str = "one_is_open", **changes: Any) -> RecordedAction:
    """All ones, at stamp 5, as `TINY` acts."""
    told = {"rotation": "rpy", "frame": "base", "control_period_s": 0.2} | changes
    return RecordedAction(5, np.ones(7), (3,), 0, gripper, **told)


TINY = SimpleNamespace(rotation="rpy", gripper="one_is_open", frame="base", control_period_s=0.2)


@pytest.mark.parametrize(("changes", "told"), [
    ({}, ""),
    ({"gripper": "one_is_closed"}, ""),
    ({"rotation": "axis_angle"}, "rotation_convention is 'axis_angle', the policy's 'rpy'"),
    ({"frame": "end_effector", "control_period_s": 0.1},
     "frame_convention is 'end_effector', the policy's 'base', control_period is 0.1 s, the "
     "policy's 0.2"),
])
def test_recorded_actions_that_are_to_be_read_otherwise(
    changes: dict[str, Any], told: str
) -> None:
    assert recorded(**changes).unlike(TINY) == told
    results = Results(["dense"], SimpleNamespace(convention=TINY, grid=(4, 4)))
    results.tracks["dense"].add(result(0.1), 5)
    gaps = results.gaps([recorded(**changes)])
    assert len(gaps) == (not told)
    assert results.notes == [f"1 recorded action not compared: {told}"] * bool(told)


def test_a_stamp_that_comes_twice_is_compared_within_its_run() -> None:
    ours, base = Track("a", "one_is_open"), Track("b", "one_is_open")
    for place, x in enumerate((0.1, 0.2, 0.3, 0.4)):
        ours.add(result(x), 1 + place % 2, 100 * place)
        if place != 2:
            base.add(result(x), 1 + place % 2, 100 * place)
    gap = Gap.between(ours, base)
    assert gap is not None and gap.times_ns == (0, 100, 300)
    assert gap.figures()["max"]["dx"] == 0.0
    live = Track.recorded([replace(recorded(), stamp_ns=1, time_ns=230)])
    between = Gap.between(ours, live)
    assert between is not None and between.times_ns == (200,)


def test_only_images_that_both_acted_on_are_compared() -> None:
    ours = track("a", {1: result(0.1), 2: result(0.2), 4: result(0.4, tokens=(9,))})
    base = track("b", {1: result(0.1), 3: result(0.9), 4: result(0.1)})
    gap = Gap.between(ours, base)
    assert gap is not None and gap.stamps_ns == (1, 4)
    figures = gap.figures()
    assert (figures["steps"], figures["equal_actions"]) == (2, 1)
    assert figures["max"]["dx"] == pytest.approx(0.3)
    assert figures["mean"]["dx"] == pytest.approx(0.15)
    assert Gap.between(ours, track("c", {7: result()})) is None


def test_actions_without_tokens_are_equal_where_their_numbers_are() -> None:
    ours = track("a", {1: result(0.1, tokens=()), 2: result(0.2, tokens=())})
    base = track("b", {1: result(0.1, tokens=()), 2: result(0.2001, tokens=())})
    gap = Gap.between(ours, base)
    assert gap is not None and gap.equal.tolist() == [True, False]


@pytest.mark.parametrize(
    ("gripper", "pair"),
    [("one_is_open", (1.0, 0.0)), ("minus_one_is_open", (-1.0, 1.0)),
     ("one_is_closed", (0.0, 1.0))],
)
def test_flips_are_judged_by_the_opening(gripper: str, pair: tuple[float, float]) -> None:
    opened, closed = (result(0, 0, 0, 0, 0, 0, value) for value in pair)
    ours = track("a", {1: opened, 2: opened}, gripper)
    gap = Gap.between(ours, track("b", {1: closed, 2: opened}, gripper))
    assert gap is not None
    assert gap.flips.tolist() == [True, False]
    assert gap.difference[0, 6] == 1.0
    assert severity(opened, closed, gripper) == pytest.approx(2.0)


def test_tolerances_are_per_axis_and_name_the_worst_stamp() -> None:
    ours = track("a", {10**9: result(0.01, 0, 0, 0.2), 2 * 10**9: result(0.03)})
    gap = Gap.between(ours, track("b", {10**9: result(), 2 * 10**9: result()}))
    assert gap is not None
    limits = parse_tolerances(["translation=0.02,droll=0.3"])
    assert limits == {"dx": 0.02, "dy": 0.02, "dz": 0.02, "droll": 0.3}
    assert gap.exceeding(limits) == [
        "a and b differ in dx by 0.03 m at stamp 2.000 s (1 of 2 steps above --tolerance dx=0.02)"
    ]
    assert gap.exceeding(parse_tolerances(["dx=0.03"])) == []


@pytest.mark.parametrize("text", ["dx", "dx=", "dw=1", "dx=-1", "dx=nan", "=1"])
def test_tolerances_that_are_none(text: str) -> None:
    with pytest.raises(SettingError, match=r"--tolerance .*NAME is one of translation"):
        parse_tolerances([text])


def test_recorded_actions_are_a_track_of_their_own() -> None:
    live = Track.recorded([recorded("one_is_closed"), recorded("minus_one_is_open")])
    assert [values[6] for values in live.values] == [0.0, 0.0] and live.stamps_ns == [5, 5]
    assert live.figures()["latency_ms"]["p50"] is None


def test_the_worst_moments_are_apart_and_bounded() -> None:
    worst = WorstMoments((4, 4), most=2, gap=3)
    scores = [0, 1, 5, 4, 0, 0, 3, 0, 0, 9, 0]
    for index, score in enumerate(scores):
        steps: Any = {"a": SimpleNamespace(result=result()), "b": SimpleNamespace(result=result())}
        worst.see(str(index), steps, score)
    strips = worst.strips()
    assert [strip.title for strip in strips] == ["9 (distance 9.00)", "2 (distance 5.00)"]
    captions = [caption.split(":")[0] for caption, _ in strips[0].rows["a"]]
    assert captions == ["7", "8", "9", "10"], "two before, the moment, one after"
    assert WorstMoments((4, 4)).strips() == []
    assert len(AXES) == 7
