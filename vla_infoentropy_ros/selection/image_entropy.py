# SPDX-License-Identifier: Apache-2.0
"""Image entropy of every visual token: how much texture its patch holds (paper, eqs 2-3)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

# BT.601 luma in 16-bit fixed point; the weights sum to 65536, so white stays 255.
_LUMA = (19595, 38470, 7471)


def patches_of(image: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(V, H, W, C) to (V, rows * cols, P, C) with P pixels a patch, patches in raster order.

    Raises ValueError when the image does not divide into the grid.
    """
    views, height, width, channels = image.shape
    rows, cols = grid
    if height % rows or width % cols:
        raise ValueError(
            f"image of {height}x{width} pixels does not divide into {rows}x{cols} patches"
        )
    split = image.reshape(views, rows, height // rows, cols, width // cols, channels)
    return split.transpose(2, 3).reshape(views, rows * cols, -1, channels)


def image_entropy(patches: torch.Tensor, levels: int = 256) -> torch.Tensor:
    """Normalised entropy H / log2 G of the grey histogram of each patch.

    patches: (V, n, P, 3) RGB, integers 0..255 of any type, as the vision tower sees them
    (`patches_of`). levels: G, a power of two up to 256. Returns (V, n) float32 in [0, 1]; 0 for
    a flat patch.
    """
    views, tokens, pixels, _ = patches.shape
    # The sums stay below 2^24, where float32 counts exactly, and so do their halves; a float
    # product with the rounding and the scale of the bins in it is one pass over the pixels.
    scale = levels / 2**24
    weights = torch.tensor(_LUMA, dtype=torch.float32, device=patches.device) * scale
    half = torch.full((1,), 2**15 * scale, device=patches.device).expand(views * tokens * pixels)
    bins = torch.addmv(half, patches.float().view(-1, 3), weights).int().view(-1, pixels)
    bins += torch.arange(0, views * tokens * levels, levels, dtype=torch.int32,
                         device=patches.device)[:, None]
    counts = torch.bincount(bins.flatten(), minlength=views * tokens * levels)
    # H = log2 P - sum(n log2 n) / P, and n is a small integer: a table replaces the logarithms.
    table = _n_log2_n(pixels, patches.device)
    # A product with ones sums the short rows several times faster than `sum` does.
    spread = table.index_select(0, counts).view(-1, levels).mv(half.new_ones(levels))
    entropy = (math.log2(pixels) - spread / pixels) / math.log2(levels)
    return entropy.clamp_(0.0, 1.0).view(views, tokens)


@lru_cache(maxsize=8)
def _n_log2_n(limit: int, device: torch.device) -> torch.Tensor:
    n = torch.arange(limit + 1, dtype=torch.float64, device=device)
    return torch.where(n > 0, n * n.clamp_min(1).log2(), n).float()
