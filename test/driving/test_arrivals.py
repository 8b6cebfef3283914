# SPDX-License-Identifier: Apache-2.0
"""Frames that did not arrive, counted from stamps alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from test.driving.rig import picture
from test.nodes.policies import LOAD
from vla_infoentropy_ros.driving.arrivals import Arrivals


def counted(stamps_s: list[float]) -> int:
    arrivals = Arrivals()
    for stamp_s in stamps_s:
        arrivals.saw(round(stamp_s * 1e9))
    return arrivals.lost


def camera(rate_hz: float, count: int, begin_s: float = 100.0) -> list[float]:
    return [begin_s + index / rate_hz for index in range(count)]


@pytest.mark.parametrize("rate_hz", [0.5, 5.0, 30.0, 120.0])
def test_each_frame_of_a_gap_is_counted(rate_hz: float) -> None:
    stamps = camera(rate_hz, 60)
    assert counted(stamps) == 0
    del stamps[50], stamps[30:33], stamps[20]
    assert counted(stamps) == 5


def test_a_camera_that_is_not_exact_loses_nothing() -> None:
    random = np.random.default_rng(0)
    exact = np.array(camera(30.0, 300))
    stamps = exact + random.uniform(-0.2, 0.2, len(exact)) / 30.0
    assert counted(list(stamps)) == 0
    kept = random.random(len(exact)) > 0.35  # what best effort loses on Fast DDS as it comes
    kept[[0, -1]] = True
    assert 0.8 <= counted(list(stamps[kept])) / np.count_nonzero(~kept) <= 1.0


def test_a_pause_is_no_loss_and_another_rate_may_follow() -> None:
    assert counted(camera(30.0, 40) + camera(10.0, 40, 200.0)) == 0


def test_another_rate_is_learnt() -> None:
    stamps = camera(30.0, 100)
    stamps += camera(15.0, 200, stamps[-1] + 1 / 15)
    assert counted(stamps[:200]) == counted(stamps), "the dark makes cameras slower"


@pytest.mark.parametrize("back_s", [0.0, 0.01, 90.0])
def test_stamps_that_do_not_go_on_begin_anew(back_s: float) -> None:
    stamps = camera(30.0, 40)
    assert counted(stamps + camera(30.0, 40, stamps[-1] - back_s)) == 0


def test_a_stamp_from_the_future_spoils_nothing() -> None:
    stamps = camera(30.0, 60)
    stamps[30] += 1e6
    assert counted(stamps) <= 1


def test_each_view_is_counted_by_itself(bench) -> None:  # type: ignore[no-untyped-def]
    rig = bench(model=f"{LOAD}:two_views")
    for index in itertools.chain(range(10), range(12, 20)):
        stamp_ns = rig.clock.now_ns() + index * 33_333_333
        rig.driver.image(picture(), stamp_ns, "camera")
        if index != 15:
            rig.driver.further_image("wrist_image", picture(), stamp_ns, "wrist")
    assert rig.driver.intake.lost == {"image": 2, "wrist_image": 3}
    rig.driver.intake.open(rig.driver.settings.node, 1)
    assert rig.driver.intake.lost == {"image": 0}
