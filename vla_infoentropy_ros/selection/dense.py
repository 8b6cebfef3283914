# SPDX-License-Identifier: Apache-2.0
"""The reference: every token, every step."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput


class Dense:
    """Recomputes everything and reads no attention: the policy as published."""

    name = "dense"
    schedule = ""
    reuses = False
    prunes = False

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(())

    def select(self, given: SelectionInput) -> Selection:
        count = given.embeddings.shape[0]
        plan = TokenPlan.dense(count, given.embeddings.device)
        return Selection(plan, torch.full((count,), reasons.REFRESH, dtype=torch.uint8))
