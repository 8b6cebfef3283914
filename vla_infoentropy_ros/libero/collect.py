# SPDX-License-Identifier: Apache-2.0
"""Collection: an expert, disturbed from the beginning, or a learner drives; the expert labels.

``python -m vla_infoentropy_ros.libero.collect OUT``, in the simulator's environment. Shards that
exist are not made again, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.interrupting import interruptible
from vla_infoentropy_ros.libero.client import PolicyClient, PolicyGone
from vla_infoentropy_ros.libero.expert import CLOSE, Scene, delivered, expert_action
from vla_infoentropy_ros.libero.goals import Goal
from vla_infoentropy_ros.libero.shards import Shard, compress
from vla_infoentropy_ros.libero.suites import STEP_LIMITS, SuiteError
from vla_infoentropy_ros.libero.world import CAMERA, World

NOISE = np.array([0.25, 0.25, 0.2])  # of a full command, per step
JITTER_M = 0.02
SCATTER_M = 0.04
FIRST_SEED = 10_000_000  # far from the seeds that evaluation uses


@dataclass(frozen=True)
class Collecting:
    """Shares of episodes or steps. own: of episodes towards the task's own goal, else towards any
    that its world allows. near, far: of steps that are recorded, close to where something
    is grasped or let go, and elsewhere. expert: of stretches that the expert drives, where a
    learner takes part. layouts: pictures of a recorded step with things elsewhere: an episode has
    one layout, and a policy trained on too few of them learns them by heart."""

    frames: int = 300
    own: float = 0.4
    near: float = 0.5
    far: float = 0.2
    jittered: float = 0.5
    displaced: float = 0.5
    noisy: float = 0.6
    kick: float = 0.04
    expert: float = 0.3
    layouts: int = 3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            whole = {"frames": 1, "layouts": 0}
            if name in whole and value < whole[name]:
                raise ValueError(f"{name} = {value}: must be >= {whole[name]}")
            if name not in whole and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} = {value}: must lie in [0, 1]")


class Episode:
    """One drive towards one goal, recorded into a shard."""

    def __init__(self, world: World, goal: Goal, rng: np.random.Generator,
                 how: Collecting) -> None:
        self.world, self.goal, self.rng, self.how = world, goal, rng, how
        self.noisy = rng.random() < how.noisy
        self.kick_left, self.kick = 0, np.zeros(3)

    def start(self, seed: int) -> None:
        """A layout, perhaps with things moved, and perhaps with the hand elsewhere."""
        self.world.reset(seed)
        if self.rng.random() < self.how.jittered:
            self.world.jitter(self.rng, JITTER_M)
        if self.rng.random() < self.how.displaced:
            push = np.array([*self.rng.uniform(-1, 1, 3), 0.0, 0.0, 0.0, -1.0])
            for _ in range(int(self.rng.integers(3, 20))):
                self.world.step(push)

    def run(self, shard: Shard, learner: PolicyClient | None, until: float = math.inf) -> None:
        """Drive until the goal is reached, time is up (here or on the clock), or the shard is
        full. Each stretch that the learner drives is an episode of its own to it."""
        rng, how = self.rng, self.how
        expert_drives = True
        for step in range(self.world.max_steps):
            if step % 15 == 0:
                expert_drives = learner is None or rng.random() < how.expert
                if learner is not None and not expert_drives:
                    learner.begin(self.goal.instruction)
            scene = self.world.scene()
            late = len(shard) and time.monotonic() > until
            if late or delivered(scene, self.goal.what, self.goal.where):
                return
            action = expert_action(scene, self.goal.what, self.goal.where)
            recorded = rng.random() < (how.near if _is_near(action) else how.far)
            if recorded or not expert_drives:
                picture = self.world.render()
            if recorded:
                record(shard, self.world, scene, picture)
                for _ in range(how.layouts):
                    with self.world.scattered(rng, SCATTER_M) as elsewhere:
                        record(shard, self.world, elsewhere, self.world.render())
                if len(shard) >= how.frames:
                    return
            if learner is not None and not expert_drives:
                action = learner.act({CAMERA: picture}, self.goal.instruction)
            if self.world.step(self._disturbed(action)):
                return

    def _disturbed(self, action: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.noisy:
            return action
        rng, action = self.rng, action.copy()
        action[:3] += rng.normal(0.0, NOISE)
        if self.kick_left == 0 and rng.random() < self.how.kick:
            self.kick_left = int(rng.integers(2, 7))
            self.kick = rng.uniform(-1.0, 1.0, 3)
        if self.kick_left:
            self.kick_left -= 1
            action[:3] = self.kick
            if rng.random() < 0.1:
                action[6] = -action[6]
        action[:3] = np.clip(action[:3], -1.0, 1.0)
        return action


def record(shard: Shard, world: World, scene: Scene, picture: NDArray[np.uint8]) -> None:
    """Add ``picture`` with the expert's label for each of the world's goals."""
    bodies = [scene.bodies[name] for name in shard.names]
    points = np.array([*(body.centre for body in bodies), scene.hand])
    shard.pictures.append(compress(picture))
    shard.labels.append(np.array([
        expert_action(scene, goal.what, goal.where) for goal in world.goals
    ]))
    shard.points.append(points)
    shard.pixels.append(world.project(points))
    shard.held.append(np.array([name in scene.held for name in shard.names]))


def collect_shard(path: Path, suite: str, task: int, number: int, how: Collecting,
                  learner: PolicyClient | None = None, until: float = math.inf) -> None:
    """Fill the shard ``number`` of a task and write it to ``path``; with what there is where
    ``time.monotonic()`` passes ``until`` first, but never without a picture."""
    rng = np.random.default_rng([sorted(STEP_LIMITS).index(suite), task, number])
    with World(suite, task) as world:
        names = sorted({name for goal in world.goals for name in (goal.what, goal.where)})
        pairs = [[names.index(goal.what), names.index(goal.where)] for goal in world.goals]
        shard = Shard([goal.instruction for goal in world.goals], names, np.array(pairs))
        while len(shard) < how.frames and not (len(shard) and time.monotonic() > until):
            chosen = 0 if rng.random() < how.own else int(rng.integers(len(world.goals)))
            goal = world.goals[chosen]
            episode = Episode(world, goal, rng, how)
            episode.start(FIRST_SEED + int(rng.integers(2**31)))
            episode.run(shard, learner, until)
    shard.write(path)


def _is_near(action: NDArray[np.float64]) -> bool:
    """Little is left to go sideways, or the gripper is to act."""
    return bool(np.abs(action[:2]).max() < 0.6 or action[6] == CLOSE)


def main(argv: Sequence[str] | None = None) -> int:
    """Collect round after round over all tasks; 0, or 1 with one sentence where that ended
    early."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros.libero.collect",
                                     description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the shards")
    parser.add_argument("--suites", nargs="+", default=sorted(STEP_LIMITS),
                        choices=sorted(STEP_LIMITS))
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=12, help="shards of each task")
    parser.add_argument("--url", default="", help="of a policy that drives now and then (DAgger), "
                        "served by vla-eval's protocol; give its rounds numbers of their own")
    parser.add_argument("--frames", type=int, default=300, help="pictures of a shard")
    parser.add_argument("--layouts", type=int, default=Collecting.layouts,
                        help="more pictures of a recorded step, with things elsewhere")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("K", "N"),
                        help="every N-th shard alone, from the K-th, of 0 to N - 1: one process "
                        "of N")
    parser.add_argument("--seconds", type=float, default=math.inf,
                        help="stop after so long, with what there is")
    options = parser.parse_args(argv)
    part, parts = options.part
    if not 0 <= part < parts:
        parser.error(f"--part {part} {parts}: K must be one of 0 to N - 1")
    try:
        how = Collecting(frames=options.frames, layouts=options.layouts)
    except ValueError as error:
        parser.error(f"--{error}")
    numbers = range(options.first, options.first + options.rounds)
    jobs = list(product(numbers, range(10), options.suites))[part::parts]
    if not jobs or options.first < 0:
        parser.error(f"--first {options.first} --rounds {options.rounds}: no rounds from 0 on")
    try:
        _collect(options.out, jobs, how, options.url, time.monotonic() + options.seconds)
    except (SuiteError, PolicyGone, OSError) as error:
        print(f"error: {error}; what is finished is kept, the same command goes on",
              file=sys.stderr)
        return 1
    return 0


def _collect(out: Path, jobs: Sequence[tuple[int, int, str]], how: Collecting, url: str,
             until: float) -> None:
    """Make the shards (number, task, suite) that are not in ``out`` yet."""
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        learner = stack.enter_context(PolicyClient(url)) if url else None
        if learner is not None and (learner.cameras != (CAMERA,) or learner.wants_state):
            raise PolicyGone(f"{url}: this policy looks at {', '.join(learner.cameras)}"
                             f"{', and takes the state' * learner.wants_state}; shards hold "
                             f"{CAMERA} alone, so give a policy of that")
        for number, task, suite in jobs:
            path = out / f"{suite}-{task}-{number:03}.npz"
            if not path.exists() and time.monotonic() < until:
                collect_shard(path, suite, task, number, how, learner, until)
                print(path.name, flush=True)


if __name__ == "__main__":
    sys.exit(interruptible(main))
