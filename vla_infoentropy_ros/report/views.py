# SPDX-License-Identifier: Apache-2.0
"""The picture of a decision: which patches were recomputed and why; reused ones are darkened.

The colours are those of the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.report.palette import CATEGORIES, REUSED_INDEX, categorise

_REUSED_BRIGHTNESS = 0.35
_TINT = 0.45


def draw_overlay(
    image: NDArray[np.uint8], bits: NDArray[np.uint8], grid: tuple[int, int]
) -> NDArray[np.uint8]:
    """image: (V, H, W, 3) RGB, as the tower saw it. bits: (V * rows * cols,). To (H, V * W, 3)."""
    rows, cols = grid
    views, height, width = image.shape[:3]
    kinds = categorise(bits)
    colours = np.array([category.colour for category in CATEGORIES], dtype=np.float32)
    reused = (kinds == REUSED_INDEX)[:, None]
    tint = np.where(reused, 0.0, colours[kinds] * _TINT)
    keep = np.where(reused, _REUSED_BRIGHTNESS, 1.0 - _TINT)
    row_of = np.arange(height) * rows // height
    col_of = np.arange(width) * cols // width
    token = (row_of[:, None] * cols + col_of[None, :])[None] + (np.arange(views) * rows * cols)[
        :, None, None
    ]
    mixed = image * keep[token] + tint[token]
    picture = np.clip(mixed, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture.transpose(1, 0, 2, 3).reshape(height, views * width, 3))
