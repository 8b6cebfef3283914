# SPDX-License-Identifier: Apache-2.0
"""The judgement of the soak benchmark; the half hour itself is run by hand."""

import pytest

from vla_infoentropy_ros.bench.soak import Figures, growth, missed_periods


def test_missed_periods_are_gaps_longer_than_one():
    steady = [index / 30 for index in range(100)]
    assert missed_periods(steady, 30.0) == 0
    assert missed_periods(steady[:50] + steady[53:], 30.0) == 3
    assert missed_periods([*steady[:40], 90 / 30], 30.0) == 50, "it fell silent before the end"
    twice = sorted(steady + [time + 0.001 for time in steady[::6]])  # at once on a new action
    assert missed_periods(twice, 30.0) == 0


def test_growth_forgives_the_beginning_and_sees_a_leak():
    assert growth([50, 90] + [100] * 20) == 0.0
    assert growth(list(range(1000, 1100))) > 0.02


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fault": "deadline: too slow"}, "deadline"),
        ({"missed_share": 0.001, "missed_periods": 5}, "missed 5"),
        ({"memory_growth": 0.03}, "3.0%"),
        ({"descriptors_start": 9, "descriptors_end": 10}, "leak"),
        ({"overhead_ms": 9.0}, "adds 9.0 ms"),
    ],
)
def test_a_broken_limit_is_a_problem(change, problem):
    figures = Figures(**change)
    figures.judge()
    assert len(figures.problems) == 1 and problem in figures.problems[0]
