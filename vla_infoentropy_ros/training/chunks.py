# SPDX-License-Identifier: Apache-2.0
"""Training pictures for flow policies: visual embeddings, and the expert's next actions.

The vision tower is the shipped policy's and stays as it is, so its embeddings are all that
training reads of a picture. They are kept in numbered shards on disk, which two runs may share,
and which a run takes up as they come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vla_infoentropy_ros.models.action_codec import ActionStats
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.policy import normalise_pixels
from vla_infoentropy_ros.models.environment import parse_device
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.sim.tasks import parse_instruction
from vla_infoentropy_ros.training.collect import CollectJob, Lane
from vla_infoentropy_ros.training.frames import CUBES, PLATES
from vla_infoentropy_ros.training.packing import patch_contrast

HORIZON = 4
GOALS = 2
SHARD = 500
LANES = 10
FRAMES_SEED = 7
DRAWN_SHARDS = 16
"""That one update draws from: with all of them it would be all looking up."""


@dataclass(frozen=True)
class Chunks:
    """M pictures of N visual tokens. embeddings (M, N, d) float16; contrast (M, N) float16, how
    much a patch differs from the table; goals (M, 2, 2) uint8, indices of cube and plate; labels
    (M, 2, H, 7) float32, the expert's next H actions towards each goal."""

    embeddings: NDArray[np.float16]
    contrast: NDArray[np.float16]
    goals: NDArray[np.uint8]
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.goals)

    @classmethod
    def open(cls, folder: Path) -> Chunks:
        """Map a shard into memory."""
        return cls(**{
            item.name: np.load(folder / f"{item.name}.npy", mmap_mode="r") for item in fields(cls)
        })

    def write(self, folder: Path) -> None:
        """Write a shard; the folder appears when it is whole."""
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        for item in fields(self):
            np.save(part / f"{item.name}.npy", getattr(self, item.name))
        os.replace(part, folder)


def shards(folder: Path) -> list[Path]:
    """The finished shards in ``folder``, in order."""
    return sorted(folder.glob("shard_????"))


def expert_chunk(env: Tabletop, instruction: str, horizon: int = HORIZON) -> NDArray[np.float32]:
    """The expert's next ``horizon`` actions (H, 7) from here; the episode stays where it is."""
    now = env.save()
    actions = [env.expert(instruction)]
    while len(actions) < horizon:
        env.step(actions[-1])
        actions.append(env.expert(instruction))
    env.restore(now)
    return np.stack(actions).astype(np.float32)


class Batch(NamedTuple):
    """B pictures with a goal each. embeddings (B, N, d) and contrast (B, N) float32; goals (B, 2)
    int64; targets (B, H, 7) float32, normalised and clipped to [-1, 1]."""

    embeddings: torch.Tensor
    contrast: torch.Tensor
    goals: torch.Tensor
    targets: torch.Tensor


class ChunkPool:
    """All shards of a folder in the memory of ``device``, 50 MB each; the first is held out.
    ``stats`` normalise the actions."""

    def __init__(self, folder: Path, stats: ActionStats, device: torch.device) -> None:
        self.folder, self.stats, self.device = folder, stats, device
        self._held: Batch | None = None
        self._shards: list[Batch] = []

    def __len__(self) -> int:
        """Shards to draw from."""
        return len(self._shards)

    def look(self) -> None:
        """Take up the shards that have come; wait for the first two."""
        while len(found := shards(self.folder)) < 2:
            time.sleep(1.0)
        if self._held is None:
            self._held = self._open(found[0])
        self._shards += [self._open(folder) for folder in found[1 + len(self) :]]

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """``count`` pictures at random from a few shards, each with one of its goals."""
        parts = []
        for places in np.array_split(np.arange(count), min(DRAWN_SHARDS, count)):
            shard = self._shards[rng.integers(len(self))]
            pictures, goals = shard.goals.shape[:2]
            parts.append(_pick(shard, rng.integers(pictures, size=len(places)),
                               rng.integers(goals, size=len(places))))
        return Batch(*(torch.cat(field) for field in zip(*parts, strict=True)))

    def held(self, every: int) -> Batch:
        """Every so manieth held out picture, with the goal that was carried out."""
        assert self._held is not None
        index = np.arange(0, len(self._held.goals), every)
        return _pick(self._held, index, np.zeros_like(index))

    def _open(self, folder: Path) -> Batch:
        """As stored, but for the actions; with all goals of a picture."""
        shard = Chunks.open(folder)
        flat = self.stats.normalise(
            shard.labels.reshape(-1, shard.labels.shape[-1]).astype(np.float64)
        )
        targets = flat.clip(-1, 1).reshape(shard.labels.shape).astype(np.float32)
        arrays = (shard.embeddings, shard.contrast, shard.goals, targets)
        return Batch(*(torch.from_numpy(np.array(array)).to(self.device) for array in arrays))


def _pick(of: Batch, pictures: NDArray[np.int64], goals: NDArray[np.int64]) -> Batch:
    at, goal = (torch.from_numpy(x).to(of.goals.device) for x in (pictures, goals))
    return Batch(of.embeddings[at].float(), of.contrast[at].float(), of.goals[at, goal].long(),
                 of.targets[at, goal])


def collect_chunks(folder: Path, count: int, seed: int, workers: int, device: str) -> None:
    """Add shards until ``folder`` holds ``count`` of them; each has a seed of its own. The
    vision tower runs on ``device``."""
    parse_device(device)
    jobs = [
        (target, seed * 10_000 + index, device)
        for index in range(count)
        if not (target := folder / f"shard_{index:04d}").exists()
    ]
    spawn = get_context("spawn")  # a forked renderer would share its context
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for _ in tqdm(pool.map(_write_shard, jobs), total=len(jobs), desc="collect", unit="shard"):
            pass


def _write_shard(job: tuple[Path, int, str]) -> None:
    target, seed, device = job
    torch.set_num_threads(1)
    policy = EmbeddedPolicy.load()
    policy.network.to(device)
    collect_shard(policy, seed, SHARD).write(target)


def collect_shard(policy: EmbeddedPolicy, seed: int, count: int) -> Chunks:
    """``count`` pictures; the same seed gives the same ones."""
    sizes = policy.config.architecture
    job = CollectJob(seed, count, sizes.image_size, lanes=LANES)
    lanes = [Lane(job, lane) for lane in range(job.lanes)]
    rng = np.random.default_rng([seed, 0xC4])
    parts: list[Chunks] = []
    for _ in range(-(-count // len(lanes))):
        images = torch.from_numpy(np.stack([lane.env.render() for lane in lanes]))
        images = images.to(policy.decoder.device)
        with torch.inference_mode():
            embeddings = policy.network.embed_vision(normalise_pixels(images))
        told = [_told(lane, rng) for lane in lanes]
        parts.append(Chunks(
            embeddings=embeddings.half().cpu().numpy(),
            contrast=patch_contrast(images, sizes.patch).half().cpu().numpy(),
            goals=np.array([[_indices(text) for text in texts] for texts in told], np.uint8),
            labels=np.stack([
                np.stack([expert_chunk(lane.env, text) for text in texts])
                for lane, texts in zip(lanes, told, strict=True)
            ]),
        ))
        for lane in lanes:
            lane.advance(None)
    for lane in lanes:
        lane.env.close()
    return Chunks(**{
        item.name: np.concatenate([getattr(part, item.name) for part in parts])[:count]
        for item in fields(Chunks)
    })


def _told(lane: Lane, rng: np.random.Generator) -> Sequence[str]:
    """What the lane carries out, and other goals of the scene."""
    others = [text for text in lane.task.valid_instructions() if text != lane.goal]
    return [lane.goal, *rng.choice(others, GOALS - 1, replace=False)]


def _indices(instruction: str) -> tuple[int, int]:
    goal = parse_instruction(instruction)
    return CUBES.index(goal.cube), PLATES.index(goal.plate)
