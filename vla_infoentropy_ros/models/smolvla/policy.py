# SPDX-License-Identifier: Apache-2.0
"""SmolVLA behind the policy adapter, and its loader."""

from __future__ import annotations

from pathlib import Path

import torch

from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.lerobot.cameras import LEFT_TOP
from vla_infoentropy_ros.models.lerobot.modules import state_row
from vla_infoentropy_ros.models.lerobot.policy import ChunkPolicy, Interface
from vla_infoentropy_ros.models.lerobot.prompt import NewlinePrompt
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.network_weights import build_network, load_pinned
from vla_infoentropy_ros.models.smolvla.config import SmolVLAConfig
from vla_infoentropy_ros.models.smolvla.modeling import UNUSED, FlowMatching, SmolVLAModel
from vla_infoentropy_ros.models.source import Source

LINE_END = "smolvla_new_line_processor"


class SmolVLAExpert:
    """``FlowExpert``: half of its layers keep their keys beside the prefix's, half read the prefix
    through projections that are made once a step."""

    def __init__(self, network: FlowMatching, config: SmolVLAConfig) -> None:
        self.network, self.config = network, config
        self.horizon, self.action_size = config.flow.horizon, config.flow.action_size
        self.attends = not any(map(config.crosses, range(config.layers)))

    def layout(self, visual: int, text: int) -> Layout:
        return Layout(visual, text, self.horizon, bos=0, state=1, together=True)

    def state_rows(self, state: torch.Tensor | None) -> torch.Tensor | None:
        if state is None:
            raise PolicyError("SmolVLA needs the robot's state, and none was given")
        return state_row(self.network.state_proj, state)

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


class SmolVLAPolicy(ChunkPolicy):
    """``PolicyAdapter`` of SmolVLA.

    Sequence: ``[visual][text][state]``, of which pictures and words see one another, then H
    actions, each of which sees those before it.
    """

    name = "smolvla"

    def __init__(
        self, config: SmolVLAConfig, interface: Interface, network: SmolVLAModel, revision: str
    ) -> None:
        self.config, self.network = config, network.model
        self.backbone = self.network.vlm["text_model"]
        expert = SmolVLAExpert(self.network, config)
        super().__init__(interface, expert, config.flow.euler_steps, config.vision.side, revision)

    @property
    def vision_tower(self) -> torch.nn.Module:
        """The module that must run exactly once per frame."""
        tower: torch.nn.Module = self.network.vlm["vision_model"]
        return tower

    @torch.no_grad()
    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W) to visual embeddings (V * rows * cols, d), views in order."""
        weight = self.network.state_proj.weight
        return self.network.embed_vision(pixels.to(weight.device, weight.dtype)).flatten(0, 1)


def read_parts(folder: Path, options: LoadOptions) -> tuple[SmolVLAConfig, Interface]:
    """A checkpoint without its weights, checked."""
    config = SmolVLAConfig.read(folder)
    prompt = NewlinePrompt.load(folder, config.most_tokens, config.text.vocabulary, config.vlm)
    return config, Interface.of_processors(
        folder, config.features, LINE_END, prompt,
        config.vision.image, config.flow.action_size, options, LEFT_TOP,
    )


def load_source(source: Source, options: LoadOptions, *, progress: bool = True) -> SmolVLAPolicy:
    """Load what was located; no weights are fetched or read before everything else is checked."""

    def build(
        parts: tuple[SmolVLAConfig, Interface], device: torch.device, dtype: torch.dtype
    ) -> SmolVLAModel:
        network = build_network(
            source, lambda: SmolVLAModel(parts[0]), UNUSED, device, dtype, progress=progress
        )
        network.restore_rotary(device)
        return network

    parts, network, revision = load_pinned(source, options, read_parts, build, progress=progress)
    return SmolVLAPolicy(*parts, network, revision)
