# SPDX-License-Identifier: Apache-2.0
"""Image entropy of every visual token: how much texture its patch holds (paper, eqs 2-3)."""

from __future__ import annotations

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


def image_entropy(image: torch.Tensor, grid: tuple[int, int], levels: int = 256) -> torch.Tensor:
    """Normalised entropy H / log2 G of the grey histogram of each patch.

    image: (V, H, W, 3) uint8 RGB, as the vision tower sees it. levels: G, divides 256.
    Returns (V, rows * cols) float32 in [0, 1]; 0 for a flat patch.
    """
    grey = patches_of(_luma(image)[..., None], grid).squeeze(-1)
    views, tokens, pixels = grey.shape
    bins = (grey.long() * levels) >> 8
    offset = torch.arange(views * tokens, device=image.device)[:, None] * levels
    flat = (bins.reshape(views * tokens, pixels) + offset).flatten()
    counts = torch.bincount(flat, minlength=views * tokens * levels)
    # H = log2 P - sum(n log2 n) / P, and n is a small integer: a table replaces the logarithms.
    spread = _n_log2_n(pixels, image.device)[counts].view(views, tokens, levels).sum(-1)
    table_total = torch.log2(torch.tensor(float(pixels), device=image.device))
    entropy = table_total - spread / pixels
    return (entropy / torch.log2(torch.tensor(float(levels)))).clamp_(0.0, 1.0).float()


def _luma(image: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor(_LUMA, dtype=torch.int32, device=image.device)
    return (((image.int() * weights).sum(-1) + 32768) >> 16).to(torch.uint8)


@lru_cache(maxsize=8)
def _n_log2_n(limit: int, device: torch.device) -> torch.Tensor:
    n = torch.arange(limit + 1, dtype=torch.float64, device=device)
    return torch.where(n > 0, n * n.clamp_min(1).log2(), n).float()
