# SPDX-License-Identifier: Apache-2.0
"""Episodes with a policy slower than its control period, by `command.slow_policy`.

The node's own core drives the tabletop; while a step is in progress the world goes on. How long a
step takes is set, in control periods, so the figures do not depend on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vla_infoentropy_ros.argument_types import count, eighths, out_file
from vla_infoentropy_ros.bench import MeasuringError, record
from vla_infoentropy_ros.bench.steps import FIRST_SEED, load_asked
from vla_infoentropy_ros.driving.aims import Target, Velocity
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.driver import Driver, Step
from vla_infoentropy_ros.driving.images import RawPicture
from vla_infoentropy_ros.driving.parameter_files import NODE, ParameterFile
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.sink import NoRobot
from vla_infoentropy_ros.driving.worker import Inline
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.success_rates import wilson_interval

_LIMIT = 3.0  # an episode may take so many times as long as one in time
_START_NS = 1_000_000_000
_EVER_S = 3600.0
_EVER = dict.fromkeys(
    ("command.deadline_s", "command.camera_timeout_s", "command.max_observation_age_s",
     "session.frame_gap_limit_s"), _EVER_S,
)  # fmt: skip
"""Beside the limits of config/sim.yaml: what is looked at is the pace alone."""


class _World(NoRobot):
    """The tabletop follows the newest command; both times go on while the policy thinks."""

    def __init__(self, table: Tabletop, clock: SetClock) -> None:
        self.driver: Driver | None = None
        self._table, self._clock = table, clock
        self._twist, self._gripper = np.zeros(6), 1.0
        self.way = self.asked = self.standing_s = 0.0

    def send(self, target: Target, stamp_ns: int) -> None:
        assert isinstance(target, Velocity)
        self._twist = target.twist

    def grip(self, opening: float, settings: Any) -> None:
        self._gripper = opening

    def go_on(self, seconds: float, slice_s: float) -> None:
        """The command timer runs, and the hand moves."""
        for _ in range(round(seconds / slice_s)):
            self._table.step_velocity(self._twist, self._gripper, slice_s)
            self.way += float(np.linalg.norm(self._twist[:3])) * slice_s
            self.standing_s += slice_s * (not self._twist.any())
            self._clock.pass_s(slice_s)
            assert self.driver is not None
            self.driver.tick()


@dataclass
class _Slow:
    """The policy itself, whose step takes ``step_s``."""

    policy: PolicyAdapter
    world: _World
    step_s: float
    slice_s: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def decode_action(self, decided: Sequence[float]) -> Any:
        self.world.go_on(self.step_s, self.slice_s)
        return self.policy.decode_action(decided)


@dataclass
class _Ear:
    """An audience that adds up what was asked for."""

    world: _World
    steps: int = 0
    told: list[str] = field(default_factory=list)

    def stepped(self, step: Step) -> None:
        self.steps += 1
        self.world.asked += float(np.linalg.norm(step.result.action.values[:3]))

    def faulted(self, fault: Any) -> None:
        self.told.append(fault.reason)

    def rejected(self, what: str, reason: str) -> None:
        self.told.append(reason)

    def dropped(self, reason: str) -> None:
        self.told.append(reason)

    def failed(self, frame: Any, fault: Any) -> None: ...
    def clock_jumped(self) -> None: ...
    def changed(self) -> None: ...


@dataclass(frozen=True)
class Ended:
    """One episode. way, asked: m. standing: share of the time. seconds: of simulated time."""

    success: bool
    way: float
    asked: float
    standing: float
    seconds: float


def episode(
    policy: PolicyAdapter, table: Tabletop, seed: int, periods: float, values: Mapping[str, Any]
) -> Ended:
    """One episode whose steps take ``periods`` control periods, a whole number of eighths. values:
    parameters by name. Raises MeasuringError for whatever the driver tells."""
    clock, period_s = SetClock(_START_NS), policy.convention.control_period_s
    task = table.reset(seed)
    world = _World(table, clock)
    ear = _Ear(world)
    limits = ParameterFile.read(str(share_directory() / "config" / "sim.yaml")).values(NODE)
    settings = PolicyNodeSettings.from_values(
        limits | _EVER | {"self_test": "", "instruction": task.instruction, **values}
    )
    slice_s = period_s / 8
    slow = _Slow(policy, world, periods * period_s, slice_s)
    driver = Driver(settings, clock, world, ear, Inline, lambda _: slow)
    world.driver = driver
    driver.load()
    driver.activate()
    driver.enable(True)
    limit_s = _LIMIT * table.max_steps * period_s
    success = False
    while not (success or ear.told) and (clock.now_ns() - _START_NS) / 1e9 < limit_s:
        driver.image(_picture(table.render()), clock.now_ns(), "camera")
        success = table.success()
    driver.deactivate()
    if ear.told:
        raise MeasuringError(f"seed {seed}, {periods:g} periods: the driver says: {ear.told[0]}")
    seconds = (clock.now_ns() - _START_NS) / 1e9
    return Ended(success, world.way, world.asked, world.standing_s / seconds, seconds)


def _picture(image: NDArray[np.uint8]) -> RawPicture:
    height, width = image.shape[:2]
    return RawPicture("rgb8", height, width, 3 * width, image.tobytes())


def main(argv: Sequence[str]) -> int:
    """Run, print a table, and write it as JSON where asked."""
    options = _parser().parse_args(argv)
    machine = record.machine()
    policy, rows = load_asked(options), {}
    with Tabletop() as table, tqdm(total=len(options.periods) * 2 * options.episodes) as bar:
        for periods in options.periods:
            for slow_policy in ("stretch", "hold"):
                ended = []
                for index in range(options.episodes):
                    ended.append(episode(policy, table, FIRST_SEED + index, periods,
                                         {"command.slow_policy": slow_policy}))
                    bar.update()
                rows[f"{periods:g} periods, {slow_policy}"] = _row(ended)
    print(f"{'a step takes':24} {'success':>9} {'way':>6} {'stands':>7} {'time s':>7}")
    for name, row in rows.items():
        print(f"{name:24} {row['successes']:>4}/{row['episodes']:<4} {row['way']:6.2f} "
              f"{row['standing']:7.0%} {row['seconds_median']:7.1f}")
    record.write(options.out, record.of("pace", options, machine, {"rows": rows}))
    return 0


def _row(ended: Sequence[Ended]) -> dict[str, Any]:
    """way: that the hand was sent, of what the actions asked for."""
    won = sum(each.success for each in ended)
    return {
        "episodes": len(ended), "successes": won,
        "success_ci95": list(wilson_interval(won, len(ended))),
        "way": sum(each.way for each in ended) / sum(each.asked for each in ended),
        "standing": float(np.mean([each.standing for each in ended])),
        "seconds_median": float(np.median([each.seconds for each in ended])),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench pace", description=__doc__
    )
    parser.add_argument("--episodes", type=count, default=50, help="default: %(default)s")
    parser.add_argument("--periods", type=eighths, nargs="+", default=[1.0, 1.5, 2.0, 3.0],
                        help="how long a step takes, in control periods, by eighths "
                        "(default: %(default)s)")
    parser.add_argument("--out", type=out_file, metavar="FILE", help="write the figures there")
    add_load_arguments(parser)
    return parser
