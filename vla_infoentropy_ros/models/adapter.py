# SPDX-License-Identifier: Apache-2.0
"""What a policy must offer so that the engine can run it; one implementation per model family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM, LlamaModel

from vla_infoentropy_ros.engine.heads import ActionHead
from vla_infoentropy_ros.foreign.text import UserError

if TYPE_CHECKING:  # which raises this module's error
    from vla_infoentropy_ros.models.proprioception import Proprioception


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
    convention. normalised: (7,) before un-normalisation, in [-1, 1] but for flow policies, which
    may go a little beyond. token_ids: the 7 tokens, () for a policy that has none. chunk: (H, 7)
    as values, the actions of this and the following control periods; without one, values alone."""

    values: NDArray[np.float64]
    normalised: NDArray[np.float64]
    token_ids: tuple[int, ...] = ()
    chunk: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 7)))

    def __post_init__(self) -> None:
        if not len(self.chunk):
            object.__setattr__(self, "chunk", self.values[None])


class PolicyAdapter(Protocol):
    """A vision-language-action policy, taken apart at the joints where the engine cuts.

    The sequence is ``[BOS][V * rows * cols visual tokens][T text tokens]``, positions 0, 1, 2, ...
    without gaps; what follows, and who sees whom, is its head's (`engine.layout`).
    """

    name: str
    revision: str  # of the weights: what a log needs to reproduce a run
    norm_key: str  # which statistics un-normalise the action
    views: int
    grid: tuple[int, int]  # (rows, cols) of visual tokens per view
    bos_token_id: int  # of the rows before the visual tokens, where its head's layout has some
    backbone: LlamaModel  # or what is built like one
    head: ActionHead
    convention: ActionConvention

    @property
    def proprioception(self) -> Proprioception | None:
        """What it takes of the robot's state; None: nothing."""
        ...

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """V images (h, w, 3) uint8 RGB of any size; raises PolicyError for anything else."""
        ...

    def tokenize(self, instruction: str) -> PromptTokens:
        """Of the text that `instruction.instruction_words` gives, spelled as in training. Raises
        PolicyError for no instruction or words the policy does not know."""
        ...

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, C, H, W) to projected visual embeddings (V * rows * cols, d), views in order."""
        ...

    def decode_action(self, decided: Sequence[Any]) -> Action:
        """The numbers that the head decided, token ids or a chunk (H * a,), to an action. Raises
        ActionError for numbers that are none."""
        ...


class TokenPolicy(PolicyAdapter, Protocol):
    """One that acts by tokens, which its language model generates."""

    decoder: LlamaForCausalLM
