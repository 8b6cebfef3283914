# SPDX-License-Identifier: Apache-2.0
"""Action bins with soft targets; places of what is meant, during training only.

Nothing here looks at attention: a selector that reads it must not be flattered.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.training.libero.pictures import Batch
from vla_infoentropy_ros.training.losses import gaussian_heat, soft_bins

REACH_M = 0.1  # metres per unit
NEAR_M = 0.03  # as the expert's command sees an offset, before clipping
WEIGHTS = (1.0, 1.0, 1.0, 0.02, 0.02, 0.02, 1.0)  # turns are zero throughout


class GroundingHeads(nn.Module):
    """Read-outs: where the hand is, how far what stands here is from it, what is meant."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hand = nn.Linear(width, 1)
        self.place = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 7))
        self.intent = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 11))


def total_loss(
    logits: torch.Tensor, visual: torch.Tensor, prompt_end: torch.Tensor, batch: Batch,
    heads: GroundingHeads, codec: ActionCodec, sigma_bins: float, grounding: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum and its parts, which stay on their device: to read them is to wait for it.

    logits (B, K, 7, V); visual (B, N, d) projected tokens; prompt_end (B, K, d): the last prompt
    token's hidden state.
    """
    soft = soft_bins(codec, batch.targets, sigma_bins)
    cross = -(soft * logits.float().log_softmax(-1)).sum(-1)
    entropy = -(soft * soft.clamp_min(1e-9).log()).sum(-1)
    divergence = (cross - entropy).mean(dim=(0, 1))
    action = (divergence * divergence.new_tensor(WEIGHTS)).sum()

    side = round(visual.shape[1] ** 0.5)
    parts = {
        "action": action,
        "hand": _hand_loss(heads, visual, batch, side),
        "place": _place_loss(heads, visual, batch, side),
        "intent": _intent_loss(heads, prompt_end, batch),
    }
    total = action + grounding * (0.1 * parts["hand"] + parts["place"] + 0.5 * parts["intent"])
    record = {**parts, "xyz": divergence[:3].mean(), "gripper": divergence[6]}
    return total, {name: value.detach() for name, value in record.items()}


def _hand_loss(heads: GroundingHeads, visual: torch.Tensor, batch: Batch,
               side: int) -> torch.Tensor:
    heat = gaussian_heat(batch.hand[:, None] * side, side)[:, 0]
    return -(heat * heads.hand(visual)[..., 0].float().log_softmax(dim=1)).sum(-1).mean()


def _place_loss(heads: GroundingHeads, visual: torch.Tensor, batch: Batch,
                side: int) -> torch.Tensor:
    """The tokens where a thing or its goal stands should say how far it is from the hand."""
    heat = gaussian_heat((batch.patches * side).flatten(1, 2), side)  # (B, 2K, N)
    said = heads.place(heat.to(visual.dtype) @ visual).float()
    offsets = batch.offsets.flatten(1, 2)
    held = functional.pad(batch.held[..., None].float(), (0, 1)).flatten(1)  # a place is not
    wanted = torch.cat([offsets / REACH_M, (offsets / NEAR_M).clamp(-1, 1), held[..., None]], -1)
    return functional.smooth_l1_loss(said, wanted, beta=0.1)


def _intent_loss(heads: GroundingHeads, prompt_end: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The end of the prompt should know the offsets of what is meant, and the motion."""
    said = heads.intent(prompt_end).float()
    near = (batch.offsets / NEAR_M).clamp(-1, 1).flatten(2)  # (B, K, 6)
    motion = batch.targets[..., [0, 1, 2, 6]]
    wanted = torch.cat([near, batch.held[..., None].float(), motion], dim=-1)
    return functional.smooth_l1_loss(said, wanted, beta=0.1)
