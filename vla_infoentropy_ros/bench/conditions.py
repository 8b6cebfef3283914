# SPDX-License-Identifier: Apache-2.0
"""What a real camera does to a simulator's clean picture, each disturbance by itself.

As a command: how many of a picture's patches the papers' static test takes for unchanged from one
frame to the next, under each disturbance and compared by means of blocks of several sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.argument_types import count, out_file
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.steps import FIRST_SEED, solved_episode
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.selection.image_entropy import patches_of
from vla_infoentropy_ros.selection.staleness import patch_cosine

_BLOCKS = (1, 2, 4, 7, 14)
_GRID = (16, 16)

Picture = NDArray[np.uint8]
Disturb = Callable[[Picture, np.random.Generator], Picture]
"""(H, W, 3) uint8 RGB to the same; draws what changes from frame to frame."""


def _clean(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture


def _noise(sigma: float) -> Disturb:
    def disturb(picture: Picture, rng: np.random.Generator) -> Picture:
        return _as_bytes(picture + rng.normal(0.0, sigma, picture.shape))

    return disturb


def _jpeg(quality: int) -> Disturb:
    def disturb(picture: Picture, rng: np.random.Generator) -> Picture:
        # The order of the channels does not matter on the way there and back again.
        _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)

    return disturb


def _exposure(share: float) -> Disturb:
    def disturb(picture: Picture, rng: np.random.Generator) -> Picture:
        return _as_bytes(picture * rng.uniform(1.0 - share, 1.0 + share))

    return disturb


def _shake(pixels: int) -> Disturb:
    def disturb(picture: Picture, rng: np.random.Generator) -> Picture:
        down, right = rng.integers(0, 2 * pixels + 1, 2)
        height, width, _ = picture.shape
        wide = np.pad(picture, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        return wide[down : down + height, right : right + width]

    return disturb


def _as_bytes(values: NDArray[np.floating]) -> Picture:
    return values.round().clip(0, 255).astype(np.uint8)


CONDITIONS: dict[str, Disturb] = {
    "clean": _clean,
    "noise 10": _noise(10.0),  # sigma of every channel of every pixel, grey levels
    "noise 20": _noise(20.0),
    "jpeg 60": _jpeg(60),  # quality
    "exposure 7 %": _exposure(0.07),  # gain of the whole picture
    "shake 2 px": _shake(2),  # the picture moves, its edge repeated
}


def disturbed(picture: Picture, condition: str, seed: int, step: int) -> Picture:
    """``picture`` under ``condition``; equal seed and step, equal draw."""
    return CONDITIONS[condition](picture, np.random.default_rng((seed, step)))


def main(argv: Sequence[str]) -> int:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros bench conditions",
                                     description=__doc__)
    parser.add_argument("--episodes", type=count, default=3)
    parser.add_argument("--out", type=out_file, help="write the table as JSON to this file")
    options = parser.parse_args(argv)
    machine = record.machine()
    torch.set_num_threads(1)
    episodes = [solved_episode(FIRST_SEED + index)[1] for index in range(options.episodes)]
    print(f"unchanged of {_GRID[0] * _GRID[1]}, mean over frames"
          + "".join(f"{f'{edge} px':>8}" for edge in _BLOCKS))
    table = {}
    for condition in CONDITIONS:
        counts = [unchanged(frames, condition, seed) for seed, frames in enumerate(episodes)]
        means = np.concatenate(counts).mean(0).tolist()
        table[condition] = dict(zip(map(str, _BLOCKS), means, strict=True))
        print(f"{condition:37}" + "".join(f"{mean:8.1f}" for mean in means))
    record.write(options.out, record.of("conditions", options, machine, {
        "first_seed": FIRST_SEED, "frames": sum(map(len, episodes)),
        "unchanged_of_256_by_block_px": table,
    }))
    return 0


def unchanged(frames: Sequence[Picture], condition: str, seed: int) -> NDArray[np.int64]:
    """Patches at or above the default threshold, (frames - 1, block sizes)."""
    threshold = SelectionSettings().static_threshold
    seen = [
        patches_of(torch.from_numpy(disturbed(frame, condition, seed, step).copy())[None], _GRID)
        for step, frame in enumerate(frames)
    ]
    return np.array([
        [int((patch_cosine(now, before, edge) >= threshold).sum()) for edge in _BLOCKS]
        for before, now in pairwise(seen)
    ])
