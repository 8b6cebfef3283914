# SPDX-License-Identifier: Apache-2.0
"""Collection of training pictures: noisy expert first, then the learner among them (DAgger)."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.sim.scene import LAYOUT_HIGH, LAYOUT_LOW
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.sim.tasks import EVALUATION_SEED
from vla_infoentropy_ros.training.frames import Frames
from vla_infoentropy_ros.training.precision import mixed_precision

_STEP_NOISE = np.array([0.006, 0.006, 0.005])
_KICK = np.array([0.03, 0.03, 0.025])


@dataclass(frozen=True)
class CollectJob:
    """One worker's share. ``weights`` None collects with the expert alone."""

    seed: int
    count: int
    image_size: int
    weights: str | None = None
    lanes: int = 12
    expert_share: float = 0.35
    after_success: float = 0.3


class Lane:
    """One simulator that runs episode after episode, perturbed so that recoveries are seen."""

    def __init__(self, job: CollectJob, seed: int) -> None:
        self.rng = np.random.default_rng([seed, job.seed, 0xC011])
        self.job = job
        self.env = Tabletop(job.image_size)
        self.restart()

    def restart(self) -> None:
        """A new scene, a new start of the hand, a new degree of noise."""
        rng = self.rng
        self.task = self.env.reset(int(rng.integers(EVALUATION_SEED)))
        self.goal = str(rng.choice(self.task.valid_instructions()))
        self.steps = 0
        self.kick_left = 0
        self.noisy = rng.random() < 0.6
        # The learner drives whole stretches, not single steps: its own drift must show.
        self.expert_drives = rng.random() < self.job.expert_share
        start = rng.random()
        if start < 0.3:
            self.env.place_hand(
                rng.uniform([*(LAYOUT_LOW - 0.03), 0.09], [*(LAYOUT_HIGH + 0.03), 0.22])
            )
        elif start < 0.6:
            cube = self.env.state.cubes[str(rng.choice(self.task.cubes))]
            offset = rng.uniform([-0.04, -0.04, 0.045], [0.04, 0.04, 0.11])
            self.env.place_hand(cube + offset)

    def advance(self, proposed: np.ndarray | None) -> None:
        """Step with the expert's or the ``proposed`` action (7,), disturbed now and then."""
        rng, env = self.rng, self.env
        if proposed is None or self.expert_drives:
            action = env.expert(self.goal)
        else:
            action = proposed.copy()
        if self.noisy:
            action[:3] += rng.normal(0.0, _STEP_NOISE)
            if self.kick_left == 0 and rng.random() < 0.06:
                self.kick_left = int(rng.integers(1, 4))
                self.kick = rng.uniform(-_KICK, _KICK)
            if self.kick_left > 0:
                self.kick_left -= 1
                action[:3] = self.kick
                if rng.random() < 0.15:
                    action[6] = 1.0 - action[6]
        env.step(action)
        self.steps += 1
        if rng.random() < 0.08:
            self.expert_drives = rng.random() < self.job.expert_share
        finished = env.success(self.goal)
        if finished and rng.random() < self.job.after_success and self.steps < env.max_steps:
            self.goal = str(rng.choice(self.task.valid_instructions()))
        elif finished or self.steps >= env.max_steps + 10:
            self.restart()


def collect(job: CollectJob) -> Frames:
    """Run one worker's share and return its pictures."""
    torch.set_num_threads(1)
    policy = None if job.weights is None else EmbeddedPolicy.load(job.weights)
    frames = Frames.empty(job.count, job.image_size)
    lanes = [Lane(job, lane) for lane in range(min(job.lanes, job.count))]
    filled = 0
    while filled < job.count:
        images = np.stack([lane.env.render() for lane in lanes])
        for lane, image in zip(lanes, images, strict=True):
            if filled < job.count:
                frames.record(filled, lane.env, image)
                filled += 1
        proposals: list[np.ndarray | None] = [None] * len(lanes)
        if policy is not None:
            with mixed_precision("cpu"):
                tokens = policy.act_batch(torch.from_numpy(images), [x.goal for x in lanes])
            proposals = [policy.nearest_action(row.tolist()).values for row in tokens]
        for lane, proposal in zip(lanes, proposals, strict=True):
            lane.advance(proposal)
    for lane in lanes:
        lane.env.close()
    return frames


def collect_parallel(
    seed: int, count: int, image_size: int, weights: Path | None, workers: int, title: str
) -> Frames:
    """Collect ``count`` pictures with ``workers`` processes; the same seed gives the same jobs."""
    # Small jobs keep what travels between processes small and the bar moving.
    share = max(1, min(1000, -(-count // workers)))
    jobs = [
        CollectJob(seed * 10_000 + index, min(share, count - index * share), image_size,
                   None if weights is None else str(weights))
        for index in range(-(-count // share))
    ]
    frames = Frames.empty(count, image_size)
    # "spawn": a forked child would inherit torch's thread pool, which then hangs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures: dict[Future[Frames], int] = {
            pool.submit(collect, job): index * share for index, job in enumerate(jobs)
        }
        with tqdm(total=count, desc=title, unit="frame", mininterval=5.0) as bar:
            for future in as_completed(futures):
                part = future.result()
                frames.put(futures[future], part)
                bar.update(len(part))
    return frames
