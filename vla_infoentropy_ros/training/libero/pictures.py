# SPDX-License-Identifier: Apache-2.0
"""Shards in memory, and batches from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vla_infoentropy_ros.foreign.text import UserError, one_line
from vla_infoentropy_ros.libero.shards import SIDE, decompress


class ShardError(UserError, ValueError):
    """A shard cannot be used; the message names the file."""


@dataclass(frozen=True)
class Batch:
    """B pictures with K goals each.

    images (B, H, W, 3) uint8; prompts: token ids (B, K, T), padded, and their lengths (B, K);
    targets (B, K, 7) normalised actions; patches (B, K, 2, 2): where the goal's thing and place
    appear, columns and rows as shares; offsets (B, K, 2, 3): from the hand to both, m; held
    (B, K) bool; hand (B, 2): where it appears.
    """

    images: torch.Tensor
    prompts: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    patches: torch.Tensor
    offsets: torch.Tensor
    held: torch.Tensor
    hand: torch.Tensor


class Pictures:
    """All shards of a folder. tokenize: an instruction to its token ids (T,)."""

    def __init__(self, folder: Path, tokenize: Callable[[str], torch.Tensor]) -> None:
        self._folder, self._tokenize = folder, tokenize
        self._read: set[str] = set()
        self._texts: list[str] = []
        self._parts: list[dict[str, NDArray[np.generic]]] = []
        self._ends = np.zeros(0, np.int64)
        self.scan()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def scan(self) -> int:
        """Read shards that are new; how many pictures came. Raises ShardError."""
        before = len(self)
        files = [path for path in sorted(self._folder.glob("*.npz"))
                 if path.name not in self._read and ".part." not in path.name]
        for path in tqdm(files, desc="shards", disable=len(files) < 10):
            try:
                self._parts.append(self._load(path))
            except (OSError, KeyError, ValueError) as error:
                raise ShardError(f"{path}: {one_line(error)}; delete it and collect it again"
                                 ) from error
            self._read.add(path.name)
        self._ends = np.cumsum([len(part["images"]) for part in self._parts])
        prompts = [self._tokenize(text) for text in self._texts]
        longest = max(map(len, prompts), default=0)
        self._lengths = torch.tensor([len(ids) for ids in prompts], dtype=torch.int64)
        self._prompts = torch.zeros(len(prompts), longest, dtype=torch.int64)
        for row, ids in zip(self._prompts, prompts, strict=True):
            row[: len(ids)] = ids
        return len(self) - before

    def batch(self, rng: np.random.Generator, size: int, goals: int) -> Batch:
        """``size`` pictures drawn evenly, each with ``goals`` of its goals, drawn with
        replacement where it has fewer."""
        index = np.sort(rng.integers(len(self), size=size))
        rows = [self._row(int(each), rng, goals) for each in index]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        text = torch.from_numpy(stacked.pop("texts"))
        return Batch(prompts=self._prompts[text], lengths=self._lengths[text],
                     **{name: torch.from_numpy(value) for name, value in stacked.items()})

    def _row(self, index: int, rng: np.random.Generator,
             goals: int) -> dict[str, NDArray[np.generic]]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        at = index - (int(self._ends[number - 1]) if number else 0)
        count = len(part["bodies"])
        chosen = rng.permutation(count)[:goals] if count >= goals else rng.integers(
            count, size=goals)
        bodies = part["bodies"][chosen]  # (K, 2)
        points = part["points"][at]
        return {
            "images": part["images"][at], "texts": part["texts"][chosen],
            "targets": part["targets"][at, chosen], "patches": part["pixels"][at][bodies],
            "offsets": points[bodies] - points[-1], "held": part["held"][at][bodies[:, 0]],
            "hand": part["pixels"][at, -1],
        }

    def _load(self, path: Path) -> dict[str, NDArray[np.generic]]:
        with np.load(path) as stored:
            ends = [0, *stored["ends"].tolist()]
            data = stored["pictures"]
            images = np.empty((len(ends) - 1, SIDE, SIDE, 3), np.uint8)
            for number, (start, end) in enumerate(pairwise(ends)):
                images[number] = decompress(data[start:end])
            texts = []
            for text in stored["instructions"].tolist():
                if text not in self._texts:
                    self._texts.append(text)
                texts.append(self._texts.index(text))
            targets = stored["labels"].copy()
            targets[..., 6] *= -1.0  # the benchmark closes with 1, the policy opens with 1
            return {"images": images, "texts": np.array(texts), "targets": targets,
                    "bodies": stored["goal_bodies"], "points": stored["points"],
                    "pixels": stored["pixels"], "held": stored["held"]}
