# SPDX-License-Identifier: Apache-2.0
"""What one step leaves for the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vla_infoentropy_ros.engine.probe import Attention


@dataclass
class Memory:
    """What the cached keys and values were computed from. Shapes as in SelectionInput; patches
    in float32, so that only those of fresh tokens are converted."""

    embeddings: torch.Tensor
    patches: torch.Tensor
    ages: torch.Tensor

    @classmethod
    def of(cls, embeddings: torch.Tensor, patches: torch.Tensor) -> Memory:
        """Everything computed from this frame."""
        ages = torch.zeros(embeddings.shape[0], dtype=torch.int64, device=embeddings.device)
        return cls(embeddings.clone(), patches.float(), ages)

    def refresh(self, fresh: torch.Tensor, embeddings: torch.Tensor, patches: torch.Tensor) -> None:
        """The tokens ``fresh`` (n,) were computed from this frame, the others are a step older."""
        self.embeddings.index_copy_(0, fresh, embeddings[fresh])
        flat, today = self.patches.flatten(0, 1), patches.flatten(0, 1)
        flat.index_copy_(0, fresh, today[fresh].float())
        self.ages.add_(1).index_fill_(0, fresh, 0)


@dataclass
class Episode:
    """All that one step leaves for the next. invalid: why none of it may be used, or "". holes:
    the last step pruned, so its keys and values do not cover every token. draft: (A - 1,) int64,
    the last action's tokens. seen: shapes of the images, and where they came from."""

    invalid: str
    holes: bool = False
    memory: Memory | None = None
    attention: Attention | None = None
    selector_state: Any = None
    draft: torch.Tensor | None = None
    stamp_ns: int | None = None
    seen: tuple[Any, ...] = ()
