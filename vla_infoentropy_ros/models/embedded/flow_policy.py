# SPDX-License-Identifier: Apache-2.0
"""The embedded policy that acts by flow: chunks of actions from noise, as pi0 does, on the
tabletop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.flow import FlowHead
from vla_infoentropy_ros.engine.heads import ActionHead
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import Action, PolicyError
from vla_infoentropy_ros.models.embedded.config import FlowConfig, PolicyConfig
from vla_infoentropy_ros.models.embedded.flow_network import ActionExpert, FlowNetwork
from vla_infoentropy_ros.models.embedded.policy import EmbeddedBase


class EmbeddedFlowPolicy(EmbeddedBase):
    """``PolicyAdapter`` of an embedded policy whose ``policy.json`` has a ``flow``.

    Sequence: ``[BOS][256 visual][words, end of prompt]``, which see one another, then H actions.
    """

    name = "embedded flow"

    network: FlowNetwork

    def __init__(self, config: PolicyConfig, network: FlowNetwork | None = None) -> None:
        if config.flow is None:
            raise PolicyError("policy.json has no 'flow': this policy acts by tokens")
        self._flow_config = config.flow
        super().__init__(config, network)
        self.backbone = self.network.decoder
        expert = TabletopExpert(self.network.expert, config.flow)
        self.flow = FlowHead(expert, config.flow.steps)
        self.head: ActionHead = self.flow

    def _new_network(self) -> FlowNetwork:
        vocabulary = self.tokenizer.vocab_size
        return FlowNetwork(self.config.architecture, vocabulary, self._flow_config.horizon, DOF)

    def decode_action(self, decided: Sequence[float]) -> Action:
        """A chunk (H * 7,), normalised, to robot units. Clipped to what the expert was trained
        on: an Euler step may end a little beyond."""
        normalised = np.clip(np.asarray(decided, dtype=np.float64).reshape(-1, DOF), -1.0, 1.0)
        chunk = np.stack([self.stats.unnormalise(row) for row in normalised])
        return Action(values=chunk[0], normalised=normalised[0], chunk=chunk)

    def encode_action(self, normalised: NDArray[np.float64]) -> list[float]:
        """The chunk that holds normalised values (7,) throughout."""
        return np.tile(normalised, self.flow.expert.horizon).tolist()


class TabletopExpert:
    """``FlowExpert``: its layers read the prefix's keys and values beside their own, in the same
    cache."""

    def __init__(self, network: ActionExpert, config: FlowConfig) -> None:
        self.network = network
        self.horizon, self.action_size, self.sees = config.horizon, DOF, config.sees
        self.attends = True

    def layout(self, visual: int, text: int) -> Layout:
        return Layout(visual, text, self.horizon, together=True, action_blocks=(self.horizon,))

    def state_rows(self, state: torch.Tensor | None) -> torch.Tensor | None:
        return None

    def begin(self, decoder: PartialDecoder, state: torch.Tensor | None) -> None:
        self._visible = None
        if self.sees == "images":
            layout = decoder.layout
            self._visible = torch.zeros(layout.total, dtype=torch.bool, device=decoder.device)
            self._visible[layout.visual_columns] = True
            self._visible[layout.prompt :] = True

    def velocity(
        self, decoder: PartialDecoder, chunk: torch.Tensor, time: float
    ) -> torch.Tensor:
        moment = torch.full((1, 1), time, device=chunk.device)
        hidden = self.network.rows(chunk[:, None], moment)
        hidden = decoder.through(
            list(self.network.layers), hidden, decoder.layout.prompt, self._visible
        )
        return self.network.velocities(hidden).float()
