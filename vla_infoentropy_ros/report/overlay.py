# SPDX-License-Identifier: Apache-2.0
"""Which patches of a frame were recomputed and why: colour is new, grey is remembered."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.report.palette import CATEGORIES, REUSED_INDEX, categorise

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

_ANCHORS = np.array([[15, 23, 60], [60, 50, 140], [190, 60, 110], [250, 150, 60],
                     [252, 240, 130]], dtype=np.float32)  # of the map, from never to always
_DIM = 0.45  # brightness kept by a reused patch
_TINT = 0.30  # share of the reason's colour in a recomputed patch


class OverlayError(UserError, ValueError):
    """The picture and the selection do not belong together."""


def token_overlay(
    image: Picture, reasons: NDArray[np.uint8], grid: tuple[int, int], size: int = 384
) -> Picture:
    """One view with every patch marked, (size, size, 3).

    image: (H, W, 3), what the tower sees. reasons: (rows * cols,) bit mask in raster order.
    Reused patches turn grey and dark; recomputed ones keep their colour, with a tint and a frame
    in the colour of their reason. A full refresh gets a frame only: there is nothing to tell.
    """
    rows, cols = grid
    if reasons.shape != (rows * cols,):
        raise OverlayError(f"reasons has shape {reasons.shape}, a {rows}x{cols} grid needs "
                           f"({rows * cols},): pass the reasons of one view")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OverlayError(f"image is {image.shape} {image.dtype}: need (H, W, 3) uint8 RGB")
    base = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    kinds = categorise(reasons).reshape(grid)
    edges_y = np.linspace(0, size, rows + 1).round().astype(int)
    edges_x = np.linspace(0, size, cols + 1).round().astype(int)
    cell = np.repeat(np.repeat(kinds, np.diff(edges_y), axis=0), np.diff(edges_x), axis=1)
    colours = np.array([category.colour for category in CATEGORIES], dtype=np.float32)
    full = base.astype(np.float32)
    grey = full @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    reused = cell == REUSED_INDEX
    tint = np.where(cell == 0, 0.0, _TINT)[..., None]  # 0: full refresh
    lit = full * (1 - tint) + colours[cell] * tint
    out = np.where(reused[..., None], (grey * _DIM + 18.0)[..., None], lit)
    for row, (low, high) in enumerate(_cells(edges_y)):
        for column, (left, right) in enumerate(_cells(edges_x)):
            kind = int(kinds[row, column])
            if kind != REUSED_INDEX:
                _frame(out[low:high, left:right], colours[kind], 1 if kind == 0 else 2)
    return np.clip(out, 0, 255).astype(np.uint8)


def recompute_map(
    image: Picture, share: NDArray[np.float64], grid: tuple[int, int], size: int = 384
) -> Picture:
    """How often each patch was recomputed over an episode: share (rows * cols,) in [0, 1].

    By the colours of `share_bar`; the picture shows through.
    """
    base = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    grey = base.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    wide = np.asarray(Image.fromarray(_heat(share.reshape(grid))).resize(
        (size, size), Image.Resampling.NEAREST))
    out = wide.astype(np.float32) * 0.62 + grey[..., None] * 0.38
    return np.clip(out, 0, 255).astype(np.uint8)


def share_bar(width: int, height: int = 14) -> Picture:
    """The colours of `recompute_map` from 0 on the left to 1, (height, width, 3)."""
    return np.repeat(_heat(np.linspace(0.0, 1.0, width)[None]), height, axis=0)


def _heat(share: NDArray[np.float64]) -> Picture:
    """Shares (h, w) in [0, 1] to colours (h, w, 3)."""
    at = np.clip(share, 0, 1) * (len(_ANCHORS) - 1)
    low = np.minimum(at.astype(int), len(_ANCHORS) - 2)
    colour = _ANCHORS[low] + (at - low)[..., None] * (_ANCHORS[low + 1] - _ANCHORS[low])
    return colour.astype(np.uint8)


def _cells(edges: NDArray[np.intp]) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def _frame(cell: NDArray[np.float32], colour: NDArray[np.float32], width: int) -> None:
    """Paint the border of a cell (h, w, 3) in place."""
    cell[:width] = colour
    cell[-width:] = colour
    cell[:, :width] = colour
    cell[:, -width:] = colour
