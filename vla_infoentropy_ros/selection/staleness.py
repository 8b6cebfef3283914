# SPDX-License-Identifier: Apache-2.0
"""How far a visual token has moved from what its cached keys and values were computed from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

# Length of what every patch is given in common: it decides between black patches only.
_SPECK = 1e-6

# Steps of a cosine: coarse beside float32's rounding of 600 products, fine beside any camera.
_COSINE_STEPS = 2.0**18


def block_means(patches: torch.Tensor, edge: int) -> torch.Tensor:
    """Means of ``edge`` x ``edge`` pixels of square patches, so that the noise of single pixels
    cancels and what moved stays; the last blocks of a row or column are what is left over.

    patches: (V, n, P, 3), P = side^2 in raster order, any type. Returns (V, n, B, 3) float32,
    B = ceil(side / edge)^2; for edge 1 the patches themselves. Raises ValueError for patches
    that are not square.
    """
    views, tokens, pixels, channels = patches.shape
    if edge == 1:
        return patches.float()
    side = math.isqrt(pixels)
    if side * side != pixels:
        raise ValueError(f"patches of {pixels} pixels are not square: patch_block needs 1")
    squares = patches.float().view(-1, side, side, channels).permute(0, 3, 1, 2)
    means = F.avg_pool2d(squares, edge, ceil_mode=True, count_include_pad=False)
    return means.permute(0, 2, 3, 1).reshape(views, tokens, -1, channels)


def patch_cosine(
    current: torch.Tensor, reference: torch.Tensor, block: int = 1
) -> torch.Tensor:
    """Cosine of RGB patches, in steps of 2^-18: the papers' static test, of raw pixels with block
    1, else of `block_means`.

    current, reference: (V, n, P, 3), 0..255. Returns (V, n) float32 in [0, 1], exactly 1 for
    equal patches; two black patches count as equal, a black and a lit one as orthogonal.
    """
    current, reference = (block_means(each, block).flatten(2) for each in (current, reference))
    dot = torch.linalg.vecdot(current, reference).add_(_SPECK**2)
    lengths = torch.linalg.vector_norm(current, dim=-1).add_(_SPECK)
    lengths *= torch.linalg.vector_norm(reference, dim=-1).add_(_SPECK)
    # In steps, so that equal patches give 1 and not 1 more or less a rounding error.
    return dot.div_(lengths).mul_(_COSINE_STEPS).round_().div_(_COSINE_STEPS)


def drift(current: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Distance |e - e_ref| between today's projected embedding of a token and the one its keys
    and values were computed from. It accumulates by itself: the reference moves only when the
    token is recomputed.

    current, reference: (N, d). Returns (N,) float32, in embedding units.
    """
    return (current.float() - reference.float()).norm(dim=-1)


def relative_drift(current: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """`drift` over |e_ref|: (N,) float32, comparable across models."""
    return drift(current, reference) / reference.float().norm(dim=-1).clamp_min(1e-12)
