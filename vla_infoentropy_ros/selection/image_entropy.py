# SPDX-License-Identifier: Apache-2.0
"""Image entropy of every visual token: how much texture its patch holds (paper, eqs 2-3)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

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
    given = _constants(views * tokens, pixels, levels, patches.device)
    bins = torch.addmv(given.half, patches.float().view(-1, 3), given.weights).long()
    bins = bins.view(-1, pixels).add_(given.offsets).flatten()
    # As `bincount`, which waits for the largest value before it counts.
    counts = torch.zeros(views * tokens * levels, dtype=torch.int32, device=patches.device)
    counts.scatter_add_(0, bins, given.one.expand_as(bins))
    # A product with ones sums the short rows several times faster than `sum` does.
    terms = given.terms.index_select(0, counts).view(-1, levels)
    return torch.addmv(given.most, terms, given.ones).clamp_(0.0, 1.0).view(views, tokens)


class _Constants(NamedTuple):
    """weights: (3,) luma in units of a bin. half: (rows * pixels,) what rounds it. offsets:
    (rows, 1) int64, first bin of every patch. one: (1,) int32, what a pixel counts.
    most: (rows,), the entropy of as many colours as pixels. terms: (pixels + 1,), what a bin with
    n pixels takes from that. ones: (levels,)."""

    weights: torch.Tensor
    half: torch.Tensor
    offsets: torch.Tensor
    one: torch.Tensor
    most: torch.Tensor
    terms: torch.Tensor
    ones: torch.Tensor


@lru_cache(maxsize=8)
def _constants(rows: int, pixels: int, levels: int, device: torch.device) -> _Constants:
    # The sums of luma stay below 2^24, where float32 counts exactly, and so do their fractions: a
    # float product with the rounding and the scale of the bins in it is one pass over the pixels.
    scale = levels / 2**24
    # H = log2 P - sum(n log2 n) / P, and n is a small integer: a table replaces the logarithms.
    n = torch.arange(pixels + 1, dtype=torch.float64, device=device)
    # All in units of 2^-23, whose sums below 1 float32 holds exactly in any order: patches with
    # the same counts at other grey levels tie, instead of being ranked by how a device adds.
    unit = 2.0**-23
    terms = (-n * n.clamp_min(1).log2() / (pixels * math.log2(levels) * unit)).round() * unit
    most = round(math.log2(pixels) / (math.log2(levels) * unit)) * unit
    return _Constants(
        weights=torch.tensor(_LUMA, dtype=torch.float32, device=device) * scale,
        half=torch.full((1,), 2**15 * scale, device=device).expand(rows * pixels),
        offsets=torch.arange(0, rows * levels, levels, device=device)[:, None],
        one=torch.ones(1, dtype=torch.int32, device=device),
        most=torch.full((1,), most, device=device).expand(rows),
        terms=terms.float(),
        ones=torch.ones(levels, device=device),
    )
