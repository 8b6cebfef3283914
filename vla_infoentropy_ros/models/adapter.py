# SPDX-License-Identifier: Apache-2.0
"""What a policy must offer so that the engine can run it; one implementation per model family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from vla_infoentropy_ros.foreign.text import UserError


class PolicyError(UserError, ValueError):
    """A policy cannot be loaded or fed as asked; the message says what to change."""


@dataclass(frozen=True)
class PromptTokens:
    """The text after the visual tokens.

    token_ids: (T,) int64. instruction: (T,) bool, true for the words of the instruction itself
    (the set W of the attention information), false for the template around them.
    """

    token_ids: torch.Tensor
    instruction: torch.Tensor

    def same_as(self, other: PromptTokens) -> bool:
        """Whether a policy sees no difference."""
        return torch.equal(self.token_ids, other.token_ids) and torch.equal(
            self.instruction, other.instruction
        )


@dataclass(frozen=True)
class VisionInput:
    """One observation, prepared.

    image: (V, H, W, 3) uint8 on the host, what the vision tower sees after resize and crop, for
    the image entropy and the overlay. pixels: (V, C, H, W) float, normalised for the tower.
    """

    image: torch.Tensor
    pixels: torch.Tensor


@dataclass(frozen=True)
class ActionConvention:
    """How the numbers of an action are to be read.

    rotation, gripper: of `load_options.ROTATION_CONVENTIONS` and `GRIPPER_CONVENTIONS`. frame:
    "base" or "end_effector", in which the translation (m) and rotation increments of one control
    period are expressed.
    """

    rotation: str
    gripper: str
    frame: str
    control_period_s: float


@dataclass(frozen=True)
class Action:
    """values: (7,) [dx, dy, dz, droll, dpitch, dyaw, gripper] in m, rad and the gripper
    convention. normalised: (7,) in [-1, 1] before un-normalisation. token_ids: the 7 tokens."""

    values: NDArray[np.float64]
    normalised: NDArray[np.float64]
    token_ids: tuple[int, ...]


class PolicyAdapter(Protocol):
    """A vision-language-action policy, taken apart at the joints where the engine cuts.

    The sequence is ``[BOS][V * rows * cols visual tokens][T text tokens][7 action tokens]``,
    positions 0, 1, 2, ... without gaps.
    """

    name: str
    revision: str  # of the weights: what a log needs to reproduce a run
    norm_key: str  # which statistics un-normalise the action
    views: int
    grid: tuple[int, int]  # (rows, cols) of visual tokens per view
    action_tokens: int
    bos_token_id: int
    decoder: LlamaForCausalLM
    convention: ActionConvention

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """V images (h, w, 3) uint8 RGB of any size; raises PolicyError for anything else."""
        ...

    def tokenize(self, instruction: str) -> PromptTokens:
        """Of the spelling that `instruction.instruction_words` gives. Raises PolicyError for no
        instruction or words the policy does not know."""
        ...

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, C, H, W) to projected visual embeddings (V * rows * cols, d), views in order."""
        ...

    def decode_action(self, token_ids: Sequence[int]) -> Action:
        """7 token ids to an action; un-normalised."""
        ...
