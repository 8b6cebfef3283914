# SPDX-License-Identifier: Apache-2.0
"""The picture of a decision: which patches were recomputed and why; reused ones are darkened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.selection import reasons

# The first bit that is set gives the colour: the paper's two signals before the fall-backs.
COLOURS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (reasons.PRUNED, (0, 0, 0)),
    (reasons.REFRESH, (150, 150, 150)),
    (reasons.IMAGE_ENTROPY, (66, 133, 244)),
    (reasons.ATTENTION, (244, 160, 0)),
    (reasons.STALE, (219, 68, 55)),
    (reasons.AGE, (160, 80, 200)),
    (reasons.TOP_UP, (15, 157, 88)),
    (reasons.CONTROL, (0, 172, 193)),
)
_REUSED_BRIGHTNESS = 0.35
_TINT = 0.45


def draw_overlay(
    image: NDArray[np.uint8], bits: NDArray[np.uint8], grid: tuple[int, int]
) -> NDArray[np.uint8]:
    """image: (V, H, W, 3) RGB, as the tower saw it. bits: (V * rows * cols,). To (H, V * W, 3)."""
    rows, cols = grid
    views, height, width = image.shape[:3]
    tint = np.zeros((bits.shape[0], 3), dtype=np.float32)
    keep = np.full((bits.shape[0], 1), _REUSED_BRIGHTNESS, dtype=np.float32)
    undecided = bits != reasons.REUSED
    for bit, colour in COLOURS:
        mine = undecided & (bits & bit != 0)
        tint[mine] = np.array(colour, dtype=np.float32) * _TINT
        keep[mine] = 1.0 - _TINT
        undecided &= ~mine
    row_of = np.arange(height) * rows // height
    col_of = np.arange(width) * cols // width
    token = (row_of[:, None] * cols + col_of[None, :])[None] + (np.arange(views) * rows * cols)[
        :, None, None
    ]
    mixed = image * keep[token] + tint[token]
    picture = np.clip(mixed, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture.transpose(1, 0, 2, 3).reshape(height, views * width, 3))
