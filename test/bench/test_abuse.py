# SPDX-License-Identifier: Apache-2.0
"""Gaps and stops as `bench abuse` reckons them, and bombs that are what they are called."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from vla_infoentropy_ros.bench import MeasuringError
from vla_infoentropy_ros.bench.abuse import (
    Row,
    _Run,
    longest_gap,
    markdown,
    stopped_after,
    time_to_zero,
)


@dataclass(frozen=True)
class _Sent:
    stamp_s: float
    moving: bool = True


def _stream(*times_s: float) -> list[_Sent]:
    return [_Sent(each) for each in times_s]


def test_a_gap_is_between_commands_of_a_moving_robot() -> None:
    assert longest_gap(_stream(0.0, 0.1, 0.2, 0.7, 0.8), 0.0, 0.85) == pytest.approx(0.5)
    # The last command before counts, and silence until the end.
    assert longest_gap(_stream(0.0, 0.9), 0.5, 1.0) == pytest.approx(0.9)
    assert longest_gap(_stream(0.0, 0.1), 0.0, 2.0) == pytest.approx(1.9)
    assert longest_gap([], 0.0, 1.0) == 0.0


def test_silence_after_zero_is_no_gap() -> None:
    commands = [*_stream(0.0, 0.1), _Sent(0.13, False), _Sent(5.0)]
    assert longest_gap(commands, 0.0, 5.03) == pytest.approx(0.1)


def test_a_stop_is_the_first_zero() -> None:
    commands = [_Sent(0.0, False), *_stream(1.0, 1.1), _Sent(1.25, False), _Sent(1.28, False)]
    assert time_to_zero(commands, 1.05) == pytest.approx(0.2)
    assert time_to_zero(commands, 1.3) == math.inf


def test_what_had_stopped_before_took_no_time() -> None:
    stopped = [*_stream(1.0), _Sent(1.2, False)]
    assert stopped_after(stopped, 1.3) == stopped_after([], 1.3) == 0.0
    assert stopped_after(_stream(1.0, 1.1), 1.2) == math.inf
    assert stopped_after([*_stream(1.0), _Sent(1.2, False)], 1.1) == pytest.approx(0.1)


def test_two_periods_and_a_tenth_of_a_second_are_kept() -> None:
    assert Row(2 / 30, 0.1, 0, "").kept
    assert not Row(0.07, 0.1, 0, "").kept and not Row(0.01, 0.11, 0, "").kept


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> _Run:
    """A node whose process has ended."""
    monkeypatch.setattr(_Run, "_forget_peak", lambda self: None)
    monkeypatch.setattr(_Run, "_turn", lambda self: None)
    monkeypatch.setattr(_Run, "_peak", lambda self: 0)
    return _Run(SimpleNamespace(abuses={}, status=None), None, SimpleNamespace(poll=lambda: 1))


@pytest.mark.parametrize("minutes", [0.0, 1e-9, -1.0, math.nan])
def test_a_mix_that_tried_nothing_has_not_passed(run: _Run, minutes: float) -> None:
    with pytest.raises(MeasuringError, match="over before anything was tried; give more"):
        run.mix(minutes, 0)


def test_a_node_that_ended_is_one_sentence(run: _Run) -> None:
    with pytest.raises(MeasuringError, match="no command; is the node's log above"):
        run.until(lambda: False, "no command")


def test_the_table_in_the_docs_is_what_was_measured() -> None:
    docs = Path(__file__).parents[2] / "docs"
    record = json.loads((docs / "results" / "abuse.json").read_text(encoding="utf-8"))
    table = markdown({name: Row(**row) for name, row in record["rows"].items()})
    assert table in (docs / "security.md").read_text(encoding="utf-8"), table
