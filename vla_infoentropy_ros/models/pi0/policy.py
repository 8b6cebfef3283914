# SPDX-License-Identifier: Apache-2.0
"""pi0 behind the policy adapter, and its loader."""

from __future__ import annotations

from pathlib import Path

import torch

from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import Fields, read_json
from vla_infoentropy_ros.models.lerobot.cameras import AROUND
from vla_infoentropy_ros.models.lerobot.features import Features
from vla_infoentropy_ros.models.lerobot.modules import state_row
from vla_infoentropy_ros.models.lerobot.policy import ChunkPolicy, Interface
from vla_infoentropy_ros.models.lerobot.prompt import NewlinePrompt
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.network_weights import build_network, load_pinned
from vla_infoentropy_ros.models.pi0 import transformers_layout
from vla_infoentropy_ros.models.pi0.config import Pi0Config
from vla_infoentropy_ros.models.pi0.modeling import (
    TIED,
    UNUSED,
    WORDS,
    Pi0Model,
    published_name,
)
from vla_infoentropy_ros.models.source import Source

ORIGIN, FIRST = "google/paligemma-3b-pt-224", "<bos>"
LINE_END = "pi0_new_line_processor"


class Pi0Expert:
    """``FlowExpert``: a row for the state, which sees the prefix, and H for the actions, which see
    all of that and one another. The state's row is run once a step."""

    def __init__(self, network: Pi0Model, config: Pi0Config) -> None:
        self.network, self.layers = network, list(network.expert.layers)
        self.horizon, self.action_size = config.flow.horizon, config.flow.action_size
        self.attends = True

    def layout(self, visual: int, text: int) -> Layout:
        return Layout(visual, text, 1 + self.horizon, bos=0, together=True,
                      action_blocks=(1, self.horizon))

    def state_rows(self, state: torch.Tensor | None) -> torch.Tensor | None:
        return None  # its row runs through the expert, not through the language model

    def begin(self, decoder: PartialDecoder, state: torch.Tensor | None) -> None:
        if state is None:
            raise PolicyError("pi0 needs the robot's state, and none was given")
        row = state_row(self.network.embed_action_time.state_proj, state)
        decoder.through(self.layers, row[None], decoder.layout.prompt)

    def velocity(
        self, decoder: PartialDecoder, chunk: torch.Tensor, time: float
    ) -> torch.Tensor:
        hidden = self.network.embed_actions(chunk, time)
        first = decoder.layout.prompt + 1
        return self.network.velocity(decoder.through(self.layers, hidden, first))


class Pi0Policy(ChunkPolicy):
    """``PolicyAdapter`` of pi0.

    Sequence: ``[visual][BOS, words, line end]``, which see one another, then the expert's rows:
    ``[state][H actions]``.
    """

    name = "pi0"

    def __init__(
        self, config: Pi0Config, interface: Interface, network: Pi0Model, revision: str
    ) -> None:
        self.config, self.network = config, network
        self.backbone, self.vision_tower = network.language_model, network.vision_tower
        expert = Pi0Expert(network, config)
        super().__init__(interface, expert, config.flow.euler_steps, config.vision.side, revision)

    @torch.no_grad()
    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W) to visual embeddings (V * rows * cols, d), views in order."""
        weight = self.network.action_out_proj.weight
        return self.network.embed_vision(pixels.to(weight.device, weight.dtype)).flatten(0, 1)


def read_parts(folder: Path, options: LoadOptions) -> tuple[Pi0Config, Interface]:
    """A checkpoint without its weights, checked. LeRobot's config.json has a ``type``."""
    fields = Fields(CONFIG, read_json(folder / CONFIG))
    lerobots = fields.has("type")
    config = Pi0Config.of_lerobot(fields) if lerobots else Pi0Config.of_transformers(fields)
    prompt = NewlinePrompt.load(
        folder, config.most_tokens, config.text.vocabulary, ORIGIN, FIRST
    )
    if not lerobots:
        return config, transformers_layout.read_interface(folder, config, prompt, options)
    features = Features.read(fields)
    config.flow.check(features.state, features.action)
    return config, Interface.of_processors(
        folder, features, LINE_END, prompt, config.vision.image, config.flow.action_size, options,
        AROUND,
    )


def load_source(source: Source, options: LoadOptions, *, progress: bool = True) -> Pi0Policy:
    """Load what was located; no weights are fetched or read before everything else is checked."""

    def build(
        parts: tuple[Pi0Config, Interface], device: torch.device, dtype: torch.dtype
    ) -> Pi0Model:
        network = build_network(
            source, lambda: Pi0Model(parts[0]), UNUSED, device, dtype,
            published_name=published_name, stand_ins={WORDS: TIED}, progress=progress,
        )
        network.restore_buffers(device)
        return network

    parts, network, revision = load_pinned(source, options, read_parts, build, progress=progress)
    return Pi0Policy(*parts, network, revision)
