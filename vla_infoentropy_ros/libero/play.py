# SPDX-License-Identifier: Apache-2.0
"""Episodes of the benchmark against a policy that is served elsewhere.

``python -m vla_infoentropy_ros.libero.play OUT.jsonl --url ws://127.0.0.1:8000``, in the
simulator's environment. One line for each finished episode; those that are there are not played
again, so a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.episode_log import EpisodeLogError
from vla_infoentropy_ros.interrupting import interruptible
from vla_infoentropy_ros.libero.client import PolicyClient, PolicyGone
from vla_infoentropy_ros.libero.expert import expert_action
from vla_infoentropy_ros.libero.suites import STEP_LIMITS, SuiteError
from vla_infoentropy_ros.libero.world import CAMERA, RENDERINGS, World
from vla_infoentropy_ros.video import Picture, write_video

FILM_RATE = 20.0  # pictures per second, as the benchmark's controller steps
CONTROLS = ("none", "wrong_instruction", "stale", "grain")


@dataclass(frozen=True)
class Outcome:
    """One finished episode. seed: of everything drawn in it; told: the instruction given;
    policy_ms: mean time of an answer, over the network; step_ms, fresh, macs: means of what the
    server says of its steps, fresh without the first, where everything is."""

    suite: str
    task: int
    initial_state: int
    seed: int
    control: str
    told: str
    success: bool
    steps: int
    policy_ms: float
    step_ms: float = 0.0
    fresh: float = 0.0
    macs: float = 0.0

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Outcome:
        """What a log holds. Raises TypeError where a value is of another type."""
        outcome = cls(**line)
        for entry in fields(cls):
            value = getattr(outcome, entry.name)
            if type(value).__name__ not in (str(entry.type), "int" * (entry.type == "float")):
                raise TypeError(f"{entry.name} is {value!r}")
        return outcome

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What makes an episode the same one."""
        return self.suite, self.task, self.initial_state, self.control


def seed_of(task: int, index: int) -> int:
    """Of all that is drawn in the initial state ``index`` of ``task``: fixtures, at each reset."""
    return 1000 * task + index


def episode(world: World, index: int, control: str, client: PolicyClient | None,
            film: list[Picture] | None = None) -> Outcome:
    """The benchmark's initial state ``index``, by a policy or, without a client, the expert.

    wrong_instruction: told another of the suite's instructions; stale: shown the first picture
    throughout; grain: shown pictures that are off by a grey level. film: takes what the policy was
    shown.
    """
    seed = seed_of(world.task, index)
    noise = np.random.default_rng(seed)
    world.reset_to(index, seed)
    told = world.other_instruction(seed) if control == "wrong_instruction" else world.instruction
    waited, steps, done = 0.0, 0, False
    pictures: dict[str, Picture] = {}
    costs: list[dict[str, float]] = []
    if client is not None:
        client.begin(told)
    while steps < world.max_steps and not done:
        if client is None:
            action = expert_action(world.scene(), world.goals[0].what, world.goals[0].where)
        else:
            if not pictures or control != "stale":
                pictures = {camera: world.render(camera) for camera in client.cameras}
            if control == "grain":
                pictures = {camera: grained(picture, noise) for camera, picture in pictures.items()}
            if film is not None:
                film.append(pictures[CAMERA])
            state = world.state() if client.wants_state else None
            asked = time.perf_counter()
            action = client.act(pictures, told, state)
            waited += time.perf_counter() - asked
            costs.append(client.step)
        done = world.step(np.array([*action[:6], 1.0 if action[6] >= 0 else -1.0]))
        steps += 1
    return Outcome(
        world.suite, world.task, index, seed, control, told, done, steps,
        round(1e3 * waited / steps, 2), _mean(costs, "latency_ms"),
        _mean(costs[1:], "fresh"), _mean(costs, "macs"),
    )


def grained(picture: NDArray[np.uint8], noise: np.random.Generator) -> NDArray[np.uint8]:
    """Each value of a picture less by 1, as it is, or more by 1, at random: nothing that a person
    or a policy could go by, and yet another picture."""
    steps = noise.integers(-1, 2, picture.shape, np.int8)
    return np.clip(picture + steps.astype(np.int16), 0, 255).astype(np.uint8)


def _mean(steps: list[dict[str, float]], name: str) -> float:
    return round(sum(step.get(name, 0.0) for step in steps) / max(len(steps), 1), 2)


def finished(path: Path) -> list[Outcome]:
    """The episodes in ``path``. Raises EpisodeLogError."""
    return episode_log.finished(path, Outcome.of)


def play(path: Path, url: str, suites: Sequence[str], tasks: Sequence[int], episodes: range,
         control: str = "none", rendering: str = "fast",
         films: Path | None = None) -> Iterator[Outcome]:
    """Play what is not in ``path`` yet, task by task, and add it there.

    url: "" for the expert, who is shown nothing. films: folder that gets the first of ``episodes``
    of each task as a video, by the run that plays it. Raises SuiteError, PolicyGone.
    """
    done = {outcome.key for outcome in finished(path)}
    for suite in suites:
        for task in tasks:
            left = [index for index in episodes if (suite, task, index, control) not in done]
            if not left:
                continue
            with ExitStack() as stack:
                client = stack.enter_context(PolicyClient(url)) if url else None
                world = stack.enter_context(
                    World(suite, task, rendering=rendering, cameras=client.cameras) if client
                    else World(suite, task, rendering="none"))
                for index in left:
                    film: list[Picture] | None = [] if films and index == episodes.start else None
                    outcome = episode(world, index, control, client, film)
                    if films and film:
                        write_video(film, films / f"{suite}-{task}-{index}", FILM_RATE)
                    episode_log.add(path, asdict(outcome))
                    yield outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Play and print; 0, or 1 with one sentence where that ended early."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros.libero.play",
                                     description=__doc__)
    parser.add_argument("out", type=Path, help="file that the episodes are added to")
    parser.add_argument("--url", default="", help="of the policy; without, the expert plays")
    parser.add_argument("--suites", nargs="+", default=list(STEP_LIMITS))
    parser.add_argument("--tasks", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--first", type=int, default=0, help="first initial state")
    parser.add_argument("--episodes", type=int, default=5, help="initial states of each task")
    parser.add_argument("--control", choices=CONTROLS, default="none")
    parser.add_argument("--rendering", choices=RENDERINGS[:2], default="fast")
    parser.add_argument("--films", type=Path, help="folder that gets a video of the first episode "
                        "of each task")
    options = parser.parse_args(argv)
    if options.first < 0 or options.episodes < 1:
        parser.error(f"--first {options.first} --episodes {options.episodes}: no initial states "
                     "from 0 on")
    for folder in filter(None, (options.out.parent, options.films)):
        folder.mkdir(parents=True, exist_ok=True)
    episodes = range(options.first, options.first + options.episodes)
    try:
        for outcome in play(options.out, options.url, options.suites, options.tasks, episodes,
                            options.control, options.rendering, options.films):
            print(f"{outcome.suite} {outcome.task} #{outcome.initial_state}: "
                  f"{'success' if outcome.success else 'failure'} after {outcome.steps} steps, "
                  f"{outcome.policy_ms} ms each", flush=True)
    except (SuiteError, PolicyGone, EpisodeLogError, OSError) as error:
        print(f"error: {error}; what is finished is kept, the same command goes on",
              file=sys.stderr)
        return 1
    won = [outcome.success for outcome in finished(options.out)]
    print(f"{sum(won)} of {len(won)} episodes in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
