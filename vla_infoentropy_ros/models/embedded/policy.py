# SPDX-License-Identifier: Apache-2.0
"""The embedded policy: a small OpenVLA-shaped model trained on the package's own tabletop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

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
from vla_infoentropy_ros.models.embedded.network import EmbeddedNetwork
from vla_infoentropy_ros.models.embedded.tokenizer import WordTokenizer
from vla_infoentropy_ros.models.embedded.weights_file import FILES, read_weights, weights_folder
from vla_infoentropy_ros.models.pins import folder_revision
from vla_infoentropy_ros.models.preprocessing import check_picture


class EmbeddedPolicy:
    """``PolicyAdapter`` of the embedded policy, with a plain dense reference :meth:`act`.

    Sequence: ``[BOS][256 visual][words, end of prompt][7 action tokens]``, positions 0, 1, 2, ...
    Actions: metres and radians per control step in the robot base frame, gripper 1 = open.
    """

    name = "embedded"
    views = 1
    action_tokens = DOF

    def __init__(self, config: PolicyConfig, network: EmbeddedNetwork | None = None) -> None:
        self.config = config
        self.tokenizer = WordTokenizer(config.words, config.action_bins)
        self.codec = ActionCodec(self.tokenizer.vocab_size, config.action_bins)
        self.stats = config.stats
        self.network = network or EmbeddedNetwork(config.architecture, self.tokenizer.vocab_size)
        self.network.eval()
        self.decoder: LlamaForCausalLM = self.network.decoder
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
    def load(cls, path: str | Path | None = None, pin: str = "") -> EmbeddedPolicy:
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

    def decode_action(self, token_ids: Sequence[int]) -> Action:
        """7 token ids to an action; un-normalised."""
        if len(token_ids) != DOF:
            raise PolicyError(f"{len(token_ids)} action tokens given; must be {DOF}")
        normalised = self.codec.decode(list(token_ids))
        return Action(
            values=self.stats.unnormalise(normalised),
            normalised=normalised,
            token_ids=tuple(int(token) for token in token_ids),
        )

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
