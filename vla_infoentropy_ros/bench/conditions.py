# SPDX-License-Identifier: Apache-2.0
"""What a real camera does to a simulator's clean picture, each disturbance by itself."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

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
