# SPDX-License-Identifier: Apache-2.0
"""An embedded flow policy of a few thousand random weights."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.models.embedded import Architecture, PolicyConfig
from vla_infoentropy_ros.models.embedded.config import FlowConfig
from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy

TINY = Architecture(
    image_size=56, patch=14, stem_width=4, vision_width=16, vision_heads=2, vision_ff=16,
    projector_width=16, width=24, layers=5, heads=2, ff=32,
)


def tiny_flow_config(sees: str = "prefix") -> PolicyConfig:
    return PolicyConfig(
        revision="random", architecture=TINY, words=("put", "red", "blue"),
        norm_stats={"tiny": {"action": {
            "q01": [-0.03] * 6 + [0.0], "q99": [0.03] * 6 + [1.0], "mask": [True] * 7,
        }}},
        norm_key="tiny", camera={}, flow=FlowConfig(horizon=3, steps=4, sees=sees),
    )


def tiny_flow_policy(sees: str = "prefix", seed: int = 0) -> EmbeddedFlowPolicy:
    torch.manual_seed(seed)
    policy = EmbeddedFlowPolicy(tiny_flow_config(sees))
    with torch.no_grad():
        for parameter in policy.network.expert.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)  # its first weights hardly move
    policy.network.requires_grad_(False)
    return policy
