# SPDX-License-Identifier: Apache-2.0
"""SmolVLA behind the policy adapter, and its loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.flow import FlowHead
from vla_infoentropy_ros.engine.heads import ActionHead
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.models.adapter import Action, PolicyError, PromptTokens, VisionInput
from vla_infoentropy_ros.models.lerobot.actions import NORM_KEY, ChunkUnits
from vla_infoentropy_ros.models.lerobot.cameras import Cameras
from vla_infoentropy_ros.models.lerobot.features import ACTION, STATE
from vla_infoentropy_ros.models.lerobot.prompt import NewlinePrompt
from vla_infoentropy_ros.models.lerobot.statistics import (
    POSTPROCESSOR,
    PREPROCESSOR,
    ProcessorSteps,
)
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.network_weights import build_network, load_pinned
from vla_infoentropy_ros.models.proprioception import Proprioception
from vla_infoentropy_ros.models.smolvla.config import SmolVLAConfig
from vla_infoentropy_ros.models.smolvla.modeling import UNUSED, FlowMatching, SmolVLAModel
from vla_infoentropy_ros.models.source import Source

STEPS = frozenset({
    "rename_observations_processor", "to_batch_processor", "smolvla_new_line_processor",
    "tokenizer_processor", "device_processor", "normalizer_processor", "unnormalizer_processor",
})


class SmolVLAExpert:
    """``FlowExpert``: half of its layers keep their keys beside the prefix's, half read the prefix
    through projections that are made once a step."""

    def __init__(self, network: FlowMatching, config: SmolVLAConfig) -> None:
        self.network, self.config = network, config
        self.horizon, self.action_size = config.horizon, config.action_size

    def layout(self, visual: int, text: int) -> Layout:
        return Layout(visual, text, self.horizon, bos=0, state=1, together=True)

    def state_rows(self, state: torch.Tensor | None) -> torch.Tensor | None:
        if state is None:
            raise PolicyError("SmolVLA needs the robot's state, and none was given")
        projection = self.network.state_proj
        padded = F.pad(state, (0, self.config.state_size - state.shape[0]))
        row: torch.Tensor = projection(padded.to(projection.weight.dtype))
        return row[None]

    def begin(self, decoder: PartialDecoder, state: torch.Tensor | None) -> None:
        places = torch.arange(self.horizon, device=decoder.device)[None]
        prefix = decoder.layout.prompt
        rotary = torch.stack(decoder.model.rotary_emb(decoder.cache.keys, places))[:, None]
        for index, layer in enumerate(self.network.expert.layers):
            if self.config.crosses(index):
                layer.self_attn.read(  # type: ignore[operator, union-attr]
                    *decoder.cache.read(index, prefix), rotary
                )

    def velocity(
        self, decoder: PartialDecoder, chunk: torch.Tensor, time: float
    ) -> torch.Tensor:
        hidden = self.network.embed_actions(chunk, time)
        layers = list(self.network.expert.layers)
        return self.network.velocity(decoder.through(layers, hidden, decoder.layout.prompt))


class SmolVLAPolicy:
    """``PolicyAdapter`` of SmolVLA: one to three views, a chunk of H actions.

    Sequence: ``[visual][text][state]``, of which pictures and words see one another, then H
    actions, each of which sees those before it.
    """

    name = "smolvla"
    norm_key = NORM_KEY
    bos_token_id = 0  # its layout has no such row
    example_instruction = "pick up the red block"

    def __init__(self, parts: SmolVLAParts, network: SmolVLAModel, revision: str) -> None:
        config = parts.config
        self.config, self.network, self.revision = config, network.model, revision
        self.cameras, self.prompt, self.units = parts.cameras, parts.prompt, parts.units
        self.proprioception = parts.proprioception
        self.camera_names = parts.cameras.names
        self.views = len(parts.cameras.names)
        self.grid = (config.vision.side, config.vision.side)
        self.backbone = self.network.vlm["text_model"]
        self.flow = FlowHead(SmolVLAExpert(self.network, config), config.euler_steps)
        self.head: ActionHead = self.flow
        self.convention, self.assumed = parts.units.convention, parts.units.assumed

    @property
    def vision_tower(self) -> torch.nn.Module:
        """The module that must run exactly once per frame."""
        tower: torch.nn.Module = self.network.vlm["vision_model"]
        return tower

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One picture (h, w, 3) uint8 RGB of any size per camera, in the order of training."""
        return self.cameras.preprocess(images)

    def tokenize(self, instruction: str) -> PromptTokens:
        """The words and the line end that training put behind them."""
        return self.prompt.encode(instruction)

    @torch.no_grad()
    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W) to visual embeddings (V * rows * cols, d), views in order."""
        weight = self.network.state_proj.weight
        return self.network.embed_vision(pixels.to(weight.device, weight.dtype)).flatten(0, 1)

    def decode_action(self, decided: Sequence[float]) -> Action:
        """A chunk (H * a,), normalised and padded, to robot units."""
        return self.units.action(decided)

    def encode_action(self, normalised: NDArray[np.float64]) -> list[float]:
        """The chunk that holds shares (7,) of what training saw throughout."""
        return self.units.encode(normalised, self.config.horizon)


@dataclass(frozen=True)
class SmolVLAParts:
    """A checkpoint without its weights, checked."""

    config: SmolVLAConfig
    cameras: Cameras
    prompt: NewlinePrompt
    proprioception: Proprioception
    units: ChunkUnits

    @classmethod
    def read(cls, folder: Path, options: LoadOptions) -> SmolVLAParts:
        config = SmolVLAConfig.read(folder)
        features = config.features
        before = ProcessorSteps.read(folder / PREPROCESSOR, STEPS)
        after = ProcessorSteps.read(folder / POSTPROCESSOR, STEPS)
        state = before.scaling("normalizer_processor", STATE, "STATE", features.state)
        action = after.scaling("unnormalizer_processor", ACTION, "ACTION", features.action)
        prompt = NewlinePrompt.load(
            folder, config.most_tokens, config.text.vocabulary, config.vlm
        )
        return cls(
            config,
            Cameras.of(before.renamed(features.cameras), config.vision.image, options),
            prompt,
            Proprioception(state.offset, state.scale + state.epsilon),
            ChunkUnits.of(action, config.action_size, options),
        )


def load_source(source: Source, options: LoadOptions, *, progress: bool = True) -> SmolVLAPolicy:
    """Load what was located; no weights are fetched or read before everything else is checked."""

    def build(parts: SmolVLAParts, device: torch.device, dtype: torch.dtype) -> SmolVLAModel:
        network = build_network(
            source, lambda: SmolVLAModel(parts.config), UNUSED, device, dtype, progress=progress
        )
        network.restore_rotary(device)
        return network

    parts, network, revision = load_pinned(
        source, options, SmolVLAParts.read, build, progress=progress
    )
    return SmolVLAPolicy(parts, network, revision)
