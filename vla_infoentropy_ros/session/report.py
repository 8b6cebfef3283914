# SPDX-License-Identifier: Apache-2.0
"""What a step tells those who ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.models.adapter import Action
from vla_infoentropy_ros.selection import Selection, reasons


@dataclass(frozen=True)
class SelectionReport:
    """What was recomputed and why; N tokens, views in order, raster order within a view.

    reasons: (N,) uint8 bits of `selection.reasons`. image_entropy, attention_information,
    attention_mass, drift: (N,) float32, or empty where the selector does not compute it. ages:
    (N,) uint16, steps since each token was recomputed, after this step. alpha: NaN and k: -1
    without a schedule. fresh + reused + pruned == N.
    """

    reasons: NDArray[np.uint8]
    image_entropy: NDArray[np.float32]
    attention_information: NDArray[np.float32]
    attention_mass: NDArray[np.float32]
    drift: NDArray[np.float32]
    ages: NDArray[np.uint16]
    alpha: float
    k_visual: int
    k_attention: int
    fresh: int
    reused: int
    pruned: int

    @property
    def reuse_ratio(self) -> float:
        """Share of visual tokens that were reused, 0 .. 1."""
        return self.reused / max(1, self.fresh + self.reused + self.pruned)


@dataclass(frozen=True)
class StepResult:
    """One executed step.

    t: steps executed before this one in the episode. invalidated: why nothing that earlier steps
    left was used, or "". stages_ms: preprocess, vision, select, prefill, decode; latency_ms: their
    sum. decoder_passes, flops (true FLOPs, vision included), macs (the papers' counter, see
    `engine.flops`): of all that ran, both times where the entropy gate ran the step again. image:
    (V, H, W, 3) uint8, as the tower saw it.
    """

    action: Action
    t: int
    invalidated: str
    report: SelectionReport
    stages_ms: dict[str, float]
    latency_ms: float
    decoder_passes: int
    flops: int
    macs: int
    image: NDArray[np.uint8]


SIGNALS = ("image_entropy", "attention_information", "attention_mass", "drift")


def told_of(
    selection: Selection, ages: torch.Tensor, kept: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """What `report_of` needs of the device. ages: (N,) int64, after the step. kept: (m,) what a
    step that pruned left, or None."""
    bits = selection.reasons.to(ages.device)
    if kept is not None:
        pruned = torch.full_like(bits, reasons.PRUNED)
        bits = pruned.index_copy_(0, kept, bits[kept])
    return {"reasons": bits, "ages": ages.clamp(max=65535), **selection.signals}


def report_of(
    selection: Selection, kept: int | None, told: Mapping[str, NDArray[np.float32]]
) -> SelectionReport:
    """kept: tokens that a step that pruned left, or None. told: `told_of`, read back."""
    visual = told["ages"].shape[0]
    pruned = 0 if kept is None else visual - kept
    fresh = int(selection.plan.fresh.shape[0]) if kept is None else kept
    nothing = np.zeros(0, dtype=np.float32)
    return SelectionReport(
        reasons=told["reasons"].astype(np.uint8),
        **{name: told.get(name, nothing) for name in SIGNALS},
        ages=told["ages"].astype(np.uint16),
        alpha=selection.alpha,
        k_visual=selection.k_visual,
        k_attention=selection.k_attention,
        fresh=fresh,
        reused=visual - fresh - pruned,
        pruned=pruned,
    )
