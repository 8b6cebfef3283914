# SPDX-License-Identifier: Apache-2.0
"""How much memory of its device a policy uses."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.models.adapter import PolicyAdapter


def device_memory(policy: PolicyAdapter) -> tuple[int, int]:
    """(used, total) bytes of the GPU that holds the policy; (0, 0) on a CPU."""
    device = policy.backbone.device
    if device.type != "cuda":
        return 0, 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free, total


def release_device_memory() -> None:
    """Give back to the GPU what a policy that is gone has left in torch's cache."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
