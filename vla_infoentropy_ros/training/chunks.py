# SPDX-License-Identifier: Apache-2.0
"""Training pictures for flow policies: visual embeddings, and the expert's next actions.

The vision tower is the shipped policy's and stays as it is, so its embeddings are all that
training reads of a picture. They are kept in numbered shards on disk and mapped into memory, so
that two runs on one machine share them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.policy import normalise_pixels
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.sim.tasks import parse_instruction
from vla_infoentropy_ros.training.collect import CollectJob, Lane
from vla_infoentropy_ros.training.frames import CUBES, PLATES
from vla_infoentropy_ros.training.packing import patch_contrast

HORIZON = 4
GOALS = 3
SHARD = 1000
LANES = 10


@dataclass(frozen=True)
class Chunks:
    """M pictures of N visual tokens. embeddings (M, N, d) float16; contrast (M, N) float16, how
    much a patch differs from the table; goals (M, 3, 2) uint8, indices of cube and plate; labels
    (M, 3, H, 7) float32, the expert's next H actions towards each goal."""

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


def collect_chunks(folder: Path, count: int, seed: int) -> None:
    """Add shards until ``folder`` holds ``count`` of them; each has a seed of its own."""
    torch.set_num_threads(1)
    policy = EmbeddedPolicy.load()
    for index in tqdm(range(count), desc="collect", unit="shard"):
        target = folder / f"shard_{index:04d}"
        if not target.exists():
            collect_shard(policy, seed * 10_000 + index, SHARD).write(target)


def collect_shard(policy: EmbeddedPolicy, seed: int, count: int) -> Chunks:
    """``count`` pictures; the same seed gives the same ones."""
    job = CollectJob(seed, count, policy.config.architecture.image_size, lanes=LANES)
    lanes = [Lane(job, lane) for lane in range(job.lanes)]
    rng = np.random.default_rng([seed, 0xC4])
    parts: list[Chunks] = []
    for _ in range(-(-count // len(lanes))):
        images = torch.from_numpy(np.stack([lane.env.render() for lane in lanes]))
        with torch.inference_mode():
            embeddings = policy.network.embed_vision(normalise_pixels(images))
        told = [_told(lane, rng) for lane in lanes]
        parts.append(Chunks(
            embeddings=embeddings.to(torch.float16).numpy(),
            contrast=patch_contrast(images, policy.config.architecture.patch).half().numpy(),
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
