# SPDX-License-Identifier: Apache-2.0
"""How far a visual token has moved from what its cached keys and values were computed from."""

from __future__ import annotations

import torch

# Length of what every patch is given in common: it decides between black patches only.
_SPECK = 1e-6

# Steps of a cosine: coarse beside float32's rounding of 600 products, fine beside any camera.
_COSINE_STEPS = 2.0**18


def patch_cosine(current: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Cosine of raw RGB patches (the papers' static test), in steps of 2^-18.

    current, reference: (V, n, F), integers 0..255. Returns (V, n) float32 in [0, 1], exactly 1
    for equal patches; two black patches count as equal, a black and a lit one as orthogonal.
    """
    current, reference = current.float(), reference.float()
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
