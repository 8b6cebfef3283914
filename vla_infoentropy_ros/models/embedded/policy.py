# SPDX-License-Identifier: Apache-2.0
"""The embedded policy: a small OpenVLA-shaped model trained on the package's own tabletop, and
what it shares with the one that acts by flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from vla_infoentropy_ros.engine.heads import ActionHead, TokenHead
from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import (
    Action,
    ActionConvention,
    PolicyError,
    PromptTokens,
    VisionInput,
)
from vla_infoentropy_ros.models.embedded.config import PolicyConfig
from vla_infoentropy_ros.models.embedded.flow_network import FlowNetwork
from vla_infoentropy_ros.models.embedded.network import EmbeddedNetwork
from vla_infoentropy_ros.models.embedded.tokenizer import WordTokenizer
from vla_infoentropy_ros.models.embedded.weights_file import FILES, read_weights, weights_folder
from vla_infoentropy_ros.models.pins import folder_revision
from vla_infoentropy_ros.models.preprocessing import check_picture

if TYPE_CHECKING:
    from typing import Self  # which Python 3.10 has not


class EmbeddedBase:
    """What the embedded policies share: eyes, words and units, whatever they act by.

    Actions: metres and radians per control step in the robot base frame, gripper 1 = open.
    """

    views = 1
    proprioception = None

    def __init__(
        self, config: PolicyConfig, network: EmbeddedNetwork | FlowNetwork | None = None
    ) -> None:
        self.config = config
        self.tokenizer = WordTokenizer(config.words, config.action_bins)
        self.stats = config.stats
        self.network = (network or self._new_network()).eval()
        self.revision = config.revision
        self.norm_key = config.norm_key
        self.grid = (config.architecture.side, config.architecture.side)
        self.bos_token_id = self.tokenizer.bos_token_id
        self.convention = ActionConvention(
            rotation="rpy",
            gripper="one_is_open",
            frame="base",
            control_period_s=config.control_period_s,
        )

    @classmethod
    def load(cls, path: str | Path | None = None, pin: str = "") -> Self:
        """Load ``policy.json`` and ``policy.safetensors`` from a folder; None: those shipped.

        Its revision is what the two files hold, not what they say of themselves; ``pin`` must be
        that, or empty.
        """
        folder = weights_folder(path)
        revision = folder_revision(folder, FILES, pin)
        config = PolicyConfig.read(folder / "policy.json")
        policy = cls(config)
        read_weights(folder / "policy.safetensors", policy.network, config.revision)
        policy.revision = revision
        return policy

    def _new_network(self) -> EmbeddedNetwork | FlowNetwork:
        """With random weights, of the sizes that `config` says."""
        raise NotImplementedError

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One RGB picture (h, w, 3) uint8 of any size; resized to the policy's size if needed."""
        if len(images) != self.views:
            raise PolicyError(f"{len(images)} pictures given; the embedded policy takes one")
        image = images[0]
        check_picture(image)
        size = self.config.architecture.image_size
        if image.shape[:2] != (size, size):
            image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))
        tensor = torch.from_numpy(np.array(image, copy=True))[None]
        return VisionInput(image=tensor, pixels=normalise_pixels(tensor))

    def tokenize(self, instruction: str) -> PromptTokens:
        """Words and the end-of-prompt token; errors name unknown words."""
        return self.tokenizer.encode(instruction)

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (V, 3, H, W) to visual embeddings (V * 256, width)."""
        weight = self.network.projector.down.weight
        return self.network.embed_vision(pixels.to(weight.device, weight.dtype)).flatten(0, 1)


class EmbeddedPolicy(EmbeddedBase):
    """``PolicyAdapter`` of the embedded policy, with a plain dense reference :meth:`act`.

    Sequence: ``[BOS][256 visual][words, end of prompt][7 action tokens]``, positions 0, 1, 2, ...
    """

    name = "embedded"

    network: EmbeddedNetwork

    def __init__(self, config: PolicyConfig, network: EmbeddedNetwork | None = None) -> None:
        if config.flow is not None:
            raise PolicyError("policy.json has a 'flow': load_policy() makes a flow policy of it")
        super().__init__(config, network)
        self.codec = ActionCodec(self.tokenizer.vocab_size, config.action_bins)
        self.decoder: LlamaForCausalLM = self.network.decoder
        self.backbone = self.decoder.model
        self.head: ActionHead = TokenHead(self.decoder.lm_head, DOF)

    def _new_network(self) -> EmbeddedNetwork:
        return EmbeddedNetwork(self.config.architecture, self.tokenizer.vocab_size)

    def decode_action(self, decided: Sequence[int]) -> Action:
        """7 token ids to an action; un-normalised. Raises ActionError for a token that is a
        word."""
        if len(decided) != DOF:
            raise PolicyError(f"{len(decided)} action tokens given; must be {DOF}")
        self.codec.require_actions(decided)
        return self.nearest_action(decided)

    def nearest_action(self, decided: Sequence[int]) -> Action:
        """As :meth:`decode_action`, of one who still learns: words become the end of an axis."""
        normalised = self.codec.decode(list(decided))
        return Action(
            values=self.stats.unnormalise(normalised),
            normalised=normalised,
            token_ids=tuple(int(token) for token in decided),
        )

    def encode_action(self, normalised: NDArray[np.float64]) -> list[int]:
        """The tokens nearest to normalised values (7,)."""
        return [int(token) for token in self.codec.encode(normalised)]

    def act(self, image: NDArray[np.uint8], instruction: str) -> Action:
        """The dense reference: one control step with nothing reused between steps."""
        ids = self.act_batch(self.preprocess([image]).image, [instruction])
        return self.decode_action(ids[0].tolist())

    @torch.no_grad()
    def act_batch(self, images: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        """Greedy action tokens (B, 7) for pictures (B, H, W, 3) uint8, one instruction each.

        Straightforward forward calls with the library's own cache. The instructions must have
        equal numbers of words.
        """
        device = self.decoder.device
        prompts = torch.stack([self.tokenize(text).token_ids for text in instructions]).to(device)
        bos = torch.full((len(prompts), 1), self.bos_token_id, device=device)
        embed = self.decoder.get_input_embeddings()
        visual = self.network.embed_vision(normalise_pixels(images.to(device)))
        inputs = torch.cat([embed(bos).to(visual.dtype), visual, embed(prompts).to(visual.dtype)],
                           dim=1)
        out = self.decoder(inputs_embeds=inputs, use_cache=True, logits_to_keep=1)
        tokens = [out.logits[:, -1].argmax(-1)]
        for _ in range(DOF - 1):
            out = self.decoder(
                input_ids=tokens[-1][:, None], past_key_values=out.past_key_values, use_cache=True
            )
            tokens.append(out.logits[:, -1].argmax(-1))
        return torch.stack(tokens, dim=1)


def normalise_pixels(images: torch.Tensor) -> torch.Tensor:
    """Pictures (B, H, W, 3) uint8 to pixels (B, 3, H, W) float32 in [-1, 1]."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()
