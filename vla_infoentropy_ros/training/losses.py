# SPDX-License-Identifier: Apache-2.0
"""Losses: action bins with soft targets, and grounding that exists during training only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.sim.expert import MAX_STEP
from vla_infoentropy_ros.training.frames import CUBES, POINTS
from vla_infoentropy_ros.training.packing import Packed

_OFFSET_SCALE = 0.1  # metres per unit in the regressions
_NEAR_SCALE = 0.8 / MAX_STEP  # as the expert's action sees an offset, before clipping


@dataclass(frozen=True)
class Batch:
    """One batch of B pictures with K goals each.

    pixels (B, 3, H, W); keep (B, n) or None; suffixes (B, K, L); goals (B, K, 2);
    targets (B, K, 7) normalised actions; points (B, 10, 3) metres, NaN where absent;
    patches (B, 10, 2) in patches; held (B, 4).
    """

    pixels: torch.Tensor
    keep: torch.Tensor | None
    suffixes: torch.Tensor
    goals: torch.Tensor
    targets: torch.Tensor
    points: torch.Tensor
    patches: torch.Tensor
    held: torch.Tensor


class GroundingHeads(nn.Module):
    """Training-only read-outs: where objects are (visual tokens), what is meant (text)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heat = nn.Linear(width, POINTS)
        self.place = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 9))
        self.intent = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 10))


def soft_bins(codec: ActionCodec, values: torch.Tensor, sigma_bins: float) -> torch.Tensor:
    """Gaussian targets over the vocabulary: values (...) in [-1, 1] to (..., V), summing to 1.

    Neighbouring bins are almost as right as the best one, and the loss should know it.
    """
    centres = torch.from_numpy(codec.centres).to(values.device, torch.float32)
    sigma = sigma_bins * float(centres[1] - centres[0])
    weight = torch.exp(-0.5 * ((values[..., None] - centres) / sigma) ** 2)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-9)
    # Bin 0 is the vocabulary's last id.
    padding = codec.vocab_size - len(centres)
    return functional.pad(weight.flip(-1), (padding, 0))


def gaussian_heat(patches: torch.Tensor, side: int, sigma: float = 0.7) -> torch.Tensor:
    """Patch coordinates (B, P, 2) to maps (B, P, side * side) that sum to 1; NaN gives zeros."""
    line = torch.arange(side, device=patches.device) + 0.5
    column = -0.5 * ((line - patches[..., 0:1]) / sigma) ** 2
    row = -0.5 * ((line - patches[..., 1:2]) / sigma) ** 2
    heat = (row[..., :, None] + column[..., None, :]).flatten(-2).softmax(dim=-1)
    return torch.nan_to_num(heat, nan=0.0)


def total_loss(
    logits: torch.Tensor,
    packed: Packed,
    batch: Batch,
    heads: GroundingHeads,
    codec: ActionCodec,
    prompt_length: int,
    sigma_bins: float,
    grounding: float,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Weighted sum and its parts. logits (B, K, 7, V): at each action token's place."""
    soft = soft_bins(codec, batch.targets, sigma_bins)
    cross = -(soft * logits.float().log_softmax(-1)).sum(-1)  # (B, K, 7)
    entropy = -(soft * soft.clamp_min(1e-9).log()).sum(-1)
    divergence = (cross - entropy).mean(dim=(0, 1))
    # Rotation is constant in this family; it is learned within minutes at any weight.
    weights = torch.tensor([1.0, 1.0, 1.0, 0.05, 0.05, 0.05, 1.0])
    action = (divergence * weights).sum()

    side = round(packed.visual.shape[1] ** 0.5)
    heat = gaussian_heat(batch.patches, side)
    parts = {
        "action": action,
        "heat": _heat_loss(heads, packed.visual, heat),
        "place": _place_loss(heads, packed.visual, heat, batch),
        "look": _look_loss(packed, heat, batch),
        "intent": _intent_loss(heads, packed.hidden[:, :, prompt_length - 1], batch),
    }
    total = action + grounding * (
        0.1 * parts["heat"] + 1.0 * parts["place"] + 0.2 * parts["look"] + 0.5 * parts["intent"]
    )
    record = {name: float(value.detach()) for name, value in parts.items()}
    record["xyz"] = float(divergence[:3].detach().mean())
    record["gripper"] = float(divergence[6].detach())
    return total, record


def vision_loss(
    visual: torch.Tensor, batch: Batch, heads: GroundingHeads
) -> tuple[torch.Tensor, dict[str, float]]:
    """The losses that need no decoder, to warm up the vision tower."""
    heat = gaussian_heat(batch.patches, round(visual.shape[1] ** 0.5))
    parts = {"heat": _heat_loss(heads, visual, heat),
             "place": _place_loss(heads, visual, heat, batch)}
    total = 0.3 * parts["heat"] + 2.0 * parts["place"]
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _heat_loss(heads: GroundingHeads, visual: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    logs = heads.heat(visual).float().log_softmax(dim=1).transpose(1, 2)  # (B, P, N)
    entropy = (heat * heat.clamp_min(1e-9).log()).sum(-1)
    present = heat.sum(-1)
    return ((entropy - (heat * logs).sum(-1)) * present).sum() / present.sum()


def _offsets(batch: Batch) -> torch.Tensor:
    """From the hand to every point, (B, P, 3) metres; NaN where absent."""
    return batch.points - batch.points[:, -2:-1]


def _place_loss(
    heads: GroundingHeads, visual: torch.Tensor, heat: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """An object's tokens should say where it stands, how far from the hand, and if it is held."""
    objects = POINTS - 2
    pooled = heat[:, :objects].to(visual.dtype) @ visual  # (B, 8, d)
    said = heads.place(pooled).float()
    offset = _offsets(batch)[:, :objects]
    held = torch.zeros(offset.shape[:2])
    held[:, : len(CUBES)] = batch.held.float()
    near = (offset * _NEAR_SCALE).clamp(-1, 1)
    absolute = (batch.points[:, :objects, :2] - torch.tensor([0.45, 0.0])) / _OFFSET_SCALE
    wanted = torch.cat([offset / _OFFSET_SCALE, near, absolute, held[..., None]], dim=-1)
    present = ~wanted.isnan().any(-1)
    return functional.smooth_l1_loss(said[present], wanted[present], beta=0.1)


def _look_loss(packed: Packed, heat: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The colour words should look at the patches of the cube and plate meant."""
    which = torch.stack([batch.goals[..., 0], batch.goals[..., 1] + len(CUBES)], dim=-1)
    size = heat.shape[-1]
    index = which.flatten(1)[..., None].expand(-1, -1, size)
    target = heat.gather(1, index).view(*which.shape, size)  # (B, K, 2, N)
    if batch.keep is not None:
        keep = batch.keep[:, None, None].expand(-1, *which.shape[1:], -1)
        target = target.gather(-1, keep)
    hit = (target > 0.04).to(torch.float32)
    return -((packed.attention * hit).sum(-1) + 1e-4).log().mean()


def _intent_loss(heads: GroundingHeads, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The end of the prompt (B, K, d) should know the meant cube's and plate's offsets."""
    said = heads.intent(states).float()
    near = (_offsets(batch) * _NEAR_SCALE).clamp(-1, 1)
    cube = near.gather(1, batch.goals[..., 0:1].expand(-1, -1, 3))
    plate = near.gather(1, (batch.goals[..., 1:2] + len(CUBES)).expand(-1, -1, 3))[..., :2]
    held = batch.held.float().gather(1, batch.goals[..., 0])[..., None]
    motion = batch.targets[..., [0, 1, 2, 6]]
    wanted = torch.cat([cube, plate, held, motion], dim=-1)
    return functional.smooth_l1_loss(said, wanted, beta=0.1)
