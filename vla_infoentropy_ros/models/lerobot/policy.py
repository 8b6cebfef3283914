# SPDX-License-Identifier: Apache-2.0
"""What the adapters of SmolVLA and pi0 share: pictures, words and state in, chunks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.flow import FlowExpert, FlowHead
from vla_infoentropy_ros.engine.heads import ActionHead
from vla_infoentropy_ros.models.adapter import Action, PromptTokens, VisionInput
from vla_infoentropy_ros.models.lerobot.actions import NORM_KEY, ChunkUnits
from vla_infoentropy_ros.models.lerobot.cameras import Cameras, Fitting
from vla_infoentropy_ros.models.lerobot.features import ACTION, STATE, Features
from vla_infoentropy_ros.models.lerobot.prompt import NewlinePrompt
from vla_infoentropy_ros.models.lerobot.statistics import Scaling, check_one_source
from vla_infoentropy_ros.models.lerobot.steps import (
    CHAINS_AFTER,
    NORMALIZE,
    POSTPROCESSOR,
    PREPROCESSOR,
    UNNORMALIZE,
    ProcessorSteps,
    chains_before,
)
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.proprioception import Proprioception


@dataclass(frozen=True)
class Interface:
    """What goes in and what comes out, checked; no weights."""

    cameras: Cameras
    prompt: NewlinePrompt
    proprioception: Proprioception
    units: ChunkUnits

    @classmethod
    def of(
        cls, cameras: Cameras, prompt: NewlinePrompt, state: Scaling, action: Scaling,
        action_size: int, options: LoadOptions,
    ) -> Interface:
        """action_size: numbers per action of the network, padding included."""
        return cls(
            cameras, prompt, Proprioception(state.offset, state.scale + state.epsilon),
            ChunkUnits.of(action, action_size, options),
        )

    @classmethod
    def of_processors(
        cls, folder: Path, features: Features, line_end: str, prompt: NewlinePrompt,
        image: int, action_size: int, options: LoadOptions, fitting: Fitting,
    ) -> Interface:
        """By the steps that LeRobot saved beside the policy. line_end: name of the one that ends
        its prompts. image: edge of the tower's picture, px."""
        before = ProcessorSteps.read(folder / PREPROCESSOR, chains_before(line_end))
        after = ProcessorSteps.read(folder / POSTPROCESSOR, CHAINS_AFTER)
        before.check_prompt(prompt.max_tokens, prompt.origin)
        interface = cls.of(
            Cameras.of(before.renamed(features.cameras), image, options, fitting), prompt,
            before.scaling(NORMALIZE, STATE, "STATE", features.state),
            after.scaling(UNNORMALIZE, ACTION, "ACTION", features.action),
            action_size, options,
        )
        files = before.statistics(NORMALIZE), after.statistics(UNNORMALIZE)
        if all(files):
            check_one_source(folder / files[0], folder / files[1])
        return interface


class ChunkPolicy:
    """The part of a ``PolicyAdapter`` that does not know the network: one to three views, the
    robot's state, a chunk of H actions."""

    norm_key = NORM_KEY
    bos_token_id = 0  # no row stands before the visual tokens
    example_instruction = "pick up the red block"

    def __init__(
        self, interface: Interface, expert: FlowExpert, euler_steps: int, side: int, revision: str
    ) -> None:
        self.cameras, self.prompt, self.units = (
            interface.cameras, interface.prompt, interface.units
        )
        self.proprioception, self.revision = interface.proprioception, revision
        self.camera_names = self.cameras.names
        self.views, self.grid = len(self.camera_names), (side, side)
        self.flow = FlowHead(expert, euler_steps)
        self.head: ActionHead = self.flow
        self.convention, self.assumed = self.units.convention, self.units.assumed

    @property
    def gripper_recorded(self) -> tuple[float, float, str]:
        """Mean and deviation of the gripper in training, and the convention that its numbers are
        taken for. Where statistics tell its ends alone, their middle and half of what lies
        between, as of a gripper that is at either for half of the time."""
        scaling = self.units.scaling
        return float(scaling.offset[-1]), float(scaling.scale[-1]), self.units.gripper

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One picture (h, w, 3) uint8 RGB of any size per camera, in the order of training."""
        return self.cameras.preprocess(images)

    def tokenize(self, instruction: str) -> PromptTokens:
        """The words and what training put around them."""
        return self.prompt.encode(instruction)

    def decode_action(self, decided: Sequence[float]) -> Action:
        """A chunk (H * a,), normalised and padded, to robot units."""
        return self.units.action(decided)

    def encode_action(self, normalised: NDArray[np.float64]) -> list[float]:
        """The chunk that holds shares (7,) of what training saw throughout."""
        return self.units.encode(normalised, self.flow.horizon)
