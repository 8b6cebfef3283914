# SPDX-License-Identifier: Apache-2.0
"""How long commands last where time is simulated: slower than the wall's, or standing still."""

from __future__ import annotations

import numpy as np
import pytest

from test.driving.rig import START_NS, Bench
from test.nodes.policies import SCRIPT, STEP
from vla_infoentropy_ros.driving.clock import MotionTime, SetClock

PERIOD_S = 1.0 / 30.0


class Simulated(SetClock):
    """ROS time goes at ``pace`` times the wall's."""

    pace = 1.0

    def __init__(self) -> None:
        super().__init__(START_NS)
        self._wall_s = 0.0

    def pass_s(self, seconds: float) -> None:
        self._wall_s += seconds
        super().pass_s(self.pace * seconds)

    def steady_s(self) -> float:
        return self._wall_s

    def simulated(self) -> bool:
        return True


def moving_for(pace: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds of the wall for which one action, held for 0.3 s, moves the arm."""
    monkeypatch.setattr("test.driving.rig.SetClock", lambda _: Simulated())
    bench = Bench({"command.hold_periods": 1.5, "command.camera_timeout_s": 50.0})
    monkeypatch.setattr(Simulated, "pace", pace)
    bench.drive()
    began_s = bench.clock.steady_s()
    while bench.arm.moving:
        bench.periods(1)
        assert bench.clock.steady_s() - began_s < 10.0, "it never ends"
    bench.close()
    return bench.clock.steady_s() - began_s


@pytest.mark.parametrize("pace", [0.1, 0.5, 1.0])
def test_a_command_lasts_as_long_in_simulated_time_at_any_pace(pace, monkeypatch):
    lasted_s = moving_for(pace, monkeypatch)
    assert lasted_s * pace == pytest.approx(0.3, abs=PERIOD_S)


def test_a_command_ends_though_the_simulator_has_stopped(monkeypatch):
    assert moving_for(0.0, monkeypatch) == pytest.approx(0.5 + 0.3, abs=2 * PERIOD_S)


def test_an_arm_speeds_up_though_simulated_time_stands(monkeypatch):
    """A simulator that waits for the answer got it half a second late: until then, what was sent
    kept to the acceleration of no time at all."""
    monkeypatch.setattr("test.driving.rig.SetClock", lambda _: Simulated())
    monkeypatch.setattr(Simulated, "pace", 0.0)
    bench = Bench({"command.max_linear_acceleration": 50.0, "command.camera_timeout_s": 50.0})
    bench.drive()
    SCRIPT.values = (*(-value for value in STEP[:3]), *STEP[3:])
    bench.clock.set_ns(bench.clock.now_ns() + 200_000_000)
    bench.driver.tick()  # of the command timer, between the new time and the answer
    bench.clock.pass_s(0.02)
    bench.look()
    asked = bench.heard.steps[-1].issued.command.twist
    np.testing.assert_array_equal(bench.arm.twists[-1], asked)
    assert not np.array_equal(bench.arm.twists[-2], asked)
    bench.close()


def test_motion_time_neither_jumps_nor_runs_backwards():
    clock = Simulated()
    motion = MotionTime(clock)
    before_s = motion.now_s()
    clock.set_ns(START_NS - 50_000_000_000)
    assert motion.now_s() == before_s
    clock.pass_s(0.25)
    assert motion.now_s() == before_s + 0.25
