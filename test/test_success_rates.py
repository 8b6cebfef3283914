# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests against values from tables."""

from __future__ import annotations

import pytest

from vla_infoentropy_ros.success_rates import (
    mean_interval,
    paired_difference,
    sign_test,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (87, 100, 0.7902, 0.9224),
        (95, 100, 0.8882, 0.9785),
        (20, 20, 0.8389, 1.0),
        (0, 20, 0.0, 0.1611),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, -1)])
def test_wilson_interval_rejects_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"successes={successes} of trials={trials}"):
        wilson_interval(successes, trials)


def test_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(3, 3) == 1.0
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(34, 2) < 1e-7


@pytest.mark.parametrize(("won", "lost", "pairs", "low", "high"), [
    (0, 0, 0, -1.0, 1.0), (0, 0, 40, -0.04667, 0.04667), (5, 2, 40, -0.05878, 0.20164),
    (0, 3, 3, -1.0, -0.01858), (10, 6, 500, -0.00811, 0.02405),
])
def test_a_paired_difference_has_an_interval(
    won: int, lost: int, pairs: int, low: float, high: float
) -> None:
    assert paired_difference(won, lost, pairs) == pytest.approx((low, high), abs=5e-5)
    assert paired_difference(lost, won, pairs) == pytest.approx((-high, -low), abs=5e-5)


def test_more_that_differ_than_there_are_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="need won"):
        paired_difference(2, 2, 3)


def test_the_interval_of_a_mean() -> None:
    """s of 1, 2, 3, 4, 5 is 1.5811; 1.95996 s / sqrt(5) = 1.3859."""
    assert mean_interval([3, 1, 5, 2, 4]) == pytest.approx((1.6141, 4.3859), abs=1e-4)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="needs two"):
        mean_interval([1.0])
