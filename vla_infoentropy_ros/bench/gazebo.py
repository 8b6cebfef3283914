# SPDX-License-Identifier: Apache-2.0
"""Episodes of the tabletop in Gazebo, by ``gazebo.launch.xml``: another engine's contacts, another
renderer's picture, a clock that does not wait for the policy.

Needs ``gz`` and ros_gz_bridge. Each episode is a launch of its own, with the scene of its seed.
Simulated time goes at a pace at which a step of the policy takes about a control period of it,
found from the episode before: a slow machine sees the robot that a fast one sees. With ``--stops``
it begins with what ends in a standing hand: each once, and how long it took. With ``--log`` a run
that ended early goes on where it stood.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.argument_types import keep_apart, positive
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.arms import (
    add_episode_arguments,
    median,
    patient_parameters,
    settings_here,
    told,
)
from vla_infoentropy_ros.bench.gazebo_truth import GazeboTruth, Poses, release
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.demo.launching import NAMESPACE, Launch, launch_command
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.sim.gantry import CONTROL_PERIOD
from vla_infoentropy_ros.sim.gazebo_world import world_of
from vla_infoentropy_ros.sim.tasks import sample_task
from vla_infoentropy_ros.success_rates import wilson_interval

_READY_S = 600.0
_STANDSTILL_S = 120.0
"""Of the wall: Gazebo tells nothing for so long only where it has died."""
_SETTLED_S = 1.0
"""Simulated, in which the policy node hears the hand's pose for the first time."""
_SLOWEST, _FASTEST = 0.02, 1.0
Key = tuple[str, int, float]
"""Variant, seed and limit of time."""


class GazeboError(UserError, RuntimeError):
    """What was waited for did not come, or what was measured shows nothing."""


@dataclass(frozen=True)
class Outcome:
    """revision: of the policy's weights. pace: simulated seconds per second that were asked for.
    limit_s, time_s: simulated. low, high: (3,) m, between which the hand was. reason: success,
    time_limit, or a fault and its sentence. settings: as of `arms.Outcome`."""

    variant: str
    seed: int
    limit_s: float
    revision: str
    instruction: str
    reason: str
    steps: int
    time_s: float
    latency_ms: float
    pace: float
    low: Sequence[float]
    high: Sequence[float]
    settings: str = field(default_factory=settings_here, kw_only=True)

    @property
    def key(self) -> Key:
        """What makes an episode the same one."""
        return self.variant, self.seed, self.limit_s


class Scene:
    """A launch with its operator and the truth; `wait` lets both be heard.

    environment: of programs that shall find this Gazebo.
    """

    def __init__(
        self, launch: Launch, operator: Any, truth: GazeboTruth, spin: Callable[[float], None],
        environment: Mapping[str, str],
    ) -> None:
        self.launch, self.operator, self.truth, self._spin = launch, operator, truth, spin
        self.environment = environment

    def wait(self, condition: Callable[[], Any], problem: str, timeout_s: float = _READY_S) -> None:
        """Raises GazeboError where it does not come true, NodeDiedError where a process ends."""
        give_up_s, heard, heard_s = time.monotonic() + timeout_s, 0, time.monotonic()
        while not condition():
            self._spin(0.02)
            self.launch.check()
            now_s = time.monotonic()
            if len(self.truth.poses) > heard:
                heard, heard_s = len(self.truth.poses), now_s
            if now_s > give_up_s or (heard and now_s - heard_s > _STANDSTILL_S):
                raise GazeboError(f"{problem}; see {self.launch.log}")

    def begin(self) -> None:
        """The policy is let move."""
        self.wait(lambda: self.operator.active and self.truth.now, "the nodes are not ready")
        settled_s = self.poses.time_s + _SETTLED_S
        self.wait(lambda: self.poses.time_s > settled_s, "simulated time stands still")
        answer = self.operator.enable()
        self.wait(answer.done, "~/enable does not answer")
        if not answer.result().success:
            raise GazeboError(f"~/enable: {answer.result().message}")

    @property
    def poses(self) -> Poses:
        poses = self.truth.now
        assert poses is not None, "`begin` waits for it"
        return poses


@contextmanager
def scene(
    seed: int, pace: float, log: Path, arguments: Mapping[str, str]
) -> Iterator[Scene]:
    """Gazebo with the scene of a seed, the policy and an operator on a domain of their own.

    arguments: of the launch file, beside the world's.
    """
    from vla_infoentropy_ros.nodes.clients.gazebo_operator import GazeboOperator
    from vla_infoentropy_ros.nodes.clients.soak_robot import joined
    from vla_infoentropy_ros.nodes.middleware import local_environment

    task, layout = sample_task(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = folder / "tabletop.sdf"
        sdf = (share_directory() / "config" / "tabletop.sdf").read_text("utf-8")
        world.write_text(world_of(sdf, layout, pace), encoding="utf-8")
        domain = stack.enter_context(DomainClaim()).domain
        partition = f"tabletop_{os.getpid()}_{domain}"
        here = {"GZ_PARTITION": partition, "IGN_PARTITION": partition}
        os.environ |= local_environment() | {"ROS_DOMAIN_ID": str(domain)}
        told = {"world": str(world), "headless": "true", "instruction": task.instruction,
                "params_file": str(patient_parameters(folder))}
        launch = Launch(launch_command(told | dict(arguments), "gazebo"), log, here)
        stack.enter_context(launch)
        environment = {**os.environ, **here}
        truth = stack.enter_context(GazeboTruth(environment))
        executor = stack.enter_context(joined())
        operator = GazeboOperator(NAMESPACE)
        stack.callback(operator.destroy_node)
        executor.add_node(operator)
        yield Scene(launch, operator, truth, executor.spin_once, environment)


def run_episode(variant: str, seed: int, pace: float, options: argparse.Namespace,
                revision: str) -> Outcome:
    """One episode, to its success, a fault or the limit of time."""
    task, layout = sample_task(seed)
    log = options.logs / f"{variant}_{seed}.log"
    with scene(seed, pace, log, {"selector": variant}) as here:
        here.begin()
        began, operator = here.poses, here.operator
        first = len(here.truth.poses)

        def over() -> bool:
            passed_s = here.poses.time_s - began.time_s
            placed = here.poses.state(layout).placed(task.goal)
            return placed or bool(operator.fault) or passed_s > options.limit

        here.wait(over, "the episode does not end", 100.0 * options.limit / pace)
        success = here.poses.state(layout).placed(task.goal)
        hands = [poses.hand for poses in here.truth.poses[first:]]
        return Outcome(
            variant, seed, options.limit, revision, task.instruction,
            "success" if success else operator.fault or "time_limit",
            operator.steps, here.poses.time_s - began.time_s,
            median(operator.latencies_ms) or 0.0, pace,
            *(tuple(round(float(of(axis)), 4) for axis in zip(*hands, strict=True))
              for of in (min, max)),
        )  # fmt: skip


def paced(outcome: Outcome) -> float:
    """The pace at which the policy of an episode would have taken a control period a step."""
    if not outcome.latency_ms:
        return outcome.pace
    return min(_FASTEST, max(_SLOWEST, 0.8 * CONTROL_PERIOD / (outcome.latency_ms / 1e3)))


def main(argv: Sequence[str]) -> int:
    """Run, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench gazebo", description=__doc__
    )
    add_episode_arguments(parser, Path("out/gazebo"))
    parser.add_argument("--limit", type=positive, default=16.0,
                        help="simulated seconds of an episode, s")
    parser.add_argument("--pace", type=positive, default=0.2,
                        help="simulated seconds per second, of each variant's first episode")
    parser.add_argument("--stops", action="store_true",
                        help="first what ends in a standing hand, each once")
    options = parser.parse_args(argv)
    keep_apart(parser, options, "log", "json")
    try:
        simulator = {"gazebo": release()}
    except FileNotFoundError as error:
        parser.error(str(error))
    machine = record.machine()
    machine["versions"] |= simulator
    found = record.of("gazebo", options, machine, {"variants": {}})
    if options.stops:
        from vla_infoentropy_ros.bench.gazebo_stops import run_stops

        found["stops"] = run_stops(options)
    for outcomes in _episodes(options):
        found["variants"] = {variant: _row(ran) for variant, ran in outcomes.items()}
        record.write(options.json, found)  # what there is: a run of hours may be broken off
    for variant, row in found["variants"].items():
        low, high = row["interval"]
        print(f"{variant:24} {row['successes']} of {row['episodes']}  {low:.2f} {high:.2f}  "
              f"{told(row['median_steps'])} steps  {told(row['median_s'])} s")
    return 0


def _episodes(options: argparse.Namespace) -> Iterator[dict[str, list[Outcome]]]:
    """All variants on all seeds, in turn: all that ran so far, after each seed."""
    revision = load_policy().revision
    log = {each.key: each for each in episode_log.of_policy(
        options.log, lambda line: Outcome(**{"settings": ""} | line), revision)
        if each.settings in ("", settings_here())}
    paces = dict.fromkeys(options.variants, options.pace)
    outcomes: dict[str, list[Outcome]] = {variant: [] for variant in options.variants}
    for seed in range(options.seed, options.seed + options.episodes):
        for variant in options.variants:
            outcome = log.get((variant, seed, options.limit))
            if outcome is None:
                outcome = run_episode(variant, seed, paces[variant], options, revision)
                episode_log.add(options.log, asdict(outcome))
                print(f"{variant} {seed}: {outcome.reason}, {outcome.steps} steps, "
                      f"{outcome.time_s:.1f} s at a pace of {outcome.pace:.2f}", file=sys.stderr)
            paces[variant] = paced(outcome)
            outcomes[variant].append(outcome)
        yield outcomes


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    won = [outcome for outcome in outcomes if outcome.reason == "success"]
    return {
        "successes": len(won),
        "episodes": len(outcomes),
        "interval": wilson_interval(len(won), len(outcomes)),
        "median_steps": median([each.steps for each in won]),
        "median_s": median([each.time_s for each in won]),
        "outcomes": [asdict(each) for each in outcomes],
    }
