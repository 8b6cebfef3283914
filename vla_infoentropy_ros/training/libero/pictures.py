# SPDX-License-Identifier: Apache-2.0
"""Shards in memory, beside the network, and batches from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.foreign.text import UserError, one_line
from vla_infoentropy_ros.libero.shards import SIDE, decompress

MOST_GOALS = 6
_READERS = max(2, (os.cpu_count() or 2) - 1)

Columns = dict[str, NDArray[np.generic]]


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

    def shifted(self, most: int, generator: torch.Generator) -> Batch:
        """Every picture moved by up to ``most`` pixels either way, its border repeated; what is
        known of places in it moves along. Offsets in metres stay as they are."""
        count, height, width, _ = self.images.shape
        device = self.images.device
        by = torch.randint(-most, most + 1, (2, count), generator=generator, device=device)
        columns, rows = (
            (torch.arange(size, device=device) - by[axis, :, None]).clamp(0, size - 1)
            for axis, size in enumerate((width, height))
        )
        picture = torch.arange(count, device=device)[:, None, None]
        share = by.T / torch.tensor([width, height], device=device)
        return replace(
            self, images=self.images[picture, rows[:, :, None], columns[:, None, :]],
            patches=self.patches + share[:, None, None], hand=self.hand + share,
        )


class Pictures:
    """All shards of a folder, on ``device``. tokenize: an instruction to its token ids (T,).

    Files are read and unpacked by threads of their own: a run that looks for new ones goes on.
    """

    def __init__(self, folder: Path, tokenize: Callable[[str], torch.Tensor],
                 device: torch.device | str = "cpu") -> None:
        self._folder, self._tokenize, self._device = folder, tokenize, torch.device(device)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="shards")
        self._coming: dict[Path, Future[tuple[list[str], Columns]]] = {}
        self._seen: set[Path] = set()
        self._texts: list[str] = []
        self._columns: dict[str, torch.Tensor] = {}
        self._count = 0
        self.scan()

    def __len__(self) -> int:
        return self._count

    def scan(self, wait: bool = True) -> int:
        """Take in shards that are new; how many pictures came. Without ``wait``, those that are
        being read come with a later call. Raises ShardError."""
        before = len(self)
        for path in sorted(self._folder.glob("*.npz")):
            if path not in self._seen and ".part." not in path.name:
                self._seen.add(path)
                self._coming[path] = self._readers.submit(_load, path)
        for path in [path for path, coming in self._coming.items() if wait or coming.done()]:
            self._add(*self._coming.pop(path).result())
        return len(self) - before

    def batch(self, generator: torch.Generator, size: int, goals: int) -> Batch:
        """``size`` pictures drawn evenly, each with ``goals`` of its goals, drawn again from the
        beginning where it has fewer."""
        device = self._device
        rows = torch.randint(len(self), (size,), generator=generator, device=device)
        count = self._columns["count"][rows, None]
        order = torch.rand(size, MOST_GOALS, generator=generator, device=device)
        order = (order + (torch.arange(MOST_GOALS, device=device) >= count)).argsort(dim=1)
        chosen = order.gather(1, torch.arange(goals, device=device) % count)
        row = rows[:, None]
        text = self._columns["texts"][row, chosen]
        return Batch(
            images=self._columns["images"][rows], hand=self._columns["hand"][rows],
            prompts=self._prompts[text], lengths=self._lengths[text],
            **{name: self._columns[name][row, chosen]
               for name in ("targets", "patches", "offsets", "held")},
        )

    def _add(self, texts: list[str], columns: Columns) -> None:
        for text in texts:
            if text not in self._texts:
                self._texts.append(text)
                self._pad_prompts()
        known = np.array([self._texts.index(text) for text in texts])
        columns["texts"] = known[columns["texts"].astype(np.int64)]
        count = len(columns["images"])
        for name, values in columns.items():
            self._room(name, values, self._count + count)[self._count : self._count + count] = (
                torch.from_numpy(values).to(self._device))
        self._count += count

    def _room(self, name: str, like: NDArray[np.generic], count: int) -> torch.Tensor:
        """A column with room for ``count`` rows, and for as many more when it grows."""
        held = self._columns.get(name)
        if held is None or len(held) < count:
            grown = torch.zeros(2 * count, *like.shape[1:], device=self._device,
                                dtype=torch.from_numpy(like[:0]).dtype)
            if held is not None:
                grown[: self._count] = held[: self._count]
            self._columns[name] = grown
        return self._columns[name]

    def _pad_prompts(self) -> None:
        prompts = [self._tokenize(text) for text in self._texts]
        self._lengths = torch.tensor([len(ids) for ids in prompts], device=self._device)
        self._prompts = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True).to(self._device)


def _load(path: Path) -> tuple[list[str], Columns]:
    """A shard's instructions, and per picture what `Batch` needs of up to six goals."""
    try:
        with np.load(path) as stored:
            return stored["instructions"].tolist(), _columns(stored)
    except (OSError, KeyError, ValueError) as error:
        raise ShardError(f"{path}: {one_line(error)}; delete it and collect it again") from error


def _columns(stored: np.lib.npyio.NpzFile) -> Columns:
    ends, data = [0, *stored["ends"].tolist()], stored["pictures"]
    images = np.empty((len(ends) - 1, SIDE, SIDE, 3), np.uint8)
    for number, (start, end) in enumerate(pairwise(ends)):
        images[number] = decompress(data[start:end])
    goals = np.arange(MOST_GOALS) % len(stored["instructions"])
    bodies = stored["goal_bodies"][goals]  # (G, 2)
    targets = stored["labels"][:, goals]
    targets[..., 6] *= -1.0  # the benchmark closes with 1, the policy opens with 1
    points, pixels = stored["points"], stored["pixels"]
    count = min(len(stored["instructions"]), MOST_GOALS)
    return {
        "images": images, "targets": targets, "patches": pixels[:, bodies],
        "offsets": points[:, bodies] - points[:, -1][:, None, None],
        "held": stored["held"][:, bodies[:, 0]], "hand": pixels[:, -1],
        "texts": np.tile(goals, (len(images), 1)), "count": np.full(len(images), count),
    }
