# SPDX-License-Identifier: Apache-2.0
"""OpenVLA behind the policy adapter, and its loader."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_infoentropy_ros.engine.heads import ActionHead, TokenHead
from vla_infoentropy_ros.foreign.text import MESSAGE, printable
from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.models.action_statistics import DOF, action_stats
from vla_infoentropy_ros.models.adapter import (
    Action,
    ActionConvention,
    PolicyError,
    PromptTokens,
    VisionInput,
)
from vla_infoentropy_ros.models.conventions import (
    OSC_POSE_SCALE,
    convert_gripper,
    convert_rotation,
)
from vla_infoentropy_ros.models.datasets import (
    TrainingConventions,
    assumptions,
    conventions_for,
)
from vla_infoentropy_ros.models.json_fields import Fields
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.network_weights import build_network, load_pinned
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.modeling import (
    OpenVLAModel,
    published_name,
    unused_parameters,
)
from vla_infoentropy_ros.models.openvla.picture_config import read_preprocessing
from vla_infoentropy_ros.models.openvla.prompt import Prompt
from vla_infoentropy_ros.models.openvla.statistics import choose_key, read_norm_stats
from vla_infoentropy_ros.models.preprocessing import Preprocessing
from vla_infoentropy_ros.models.source import Source, locate

logger = logging.getLogger(__name__)


class OpenVLAPolicy:
    """``PolicyAdapter`` of OpenVLA: one view, 256 visual tokens, 7 action tokens.

    Actions leave in metres and radians; see `conventions` for what becomes of a training set's
    own units, and ``convention`` for how to read rotation and gripper.
    """

    name = "openvla"
    views = 1
    proprioception = None
    example_instruction = "pick up the red block"

    def __init__(
        self, config: OpenVLAConfig, model: OpenVLAModel, prompt: Prompt,
        preprocessing: Preprocessing, norm_stats: Fields, norm_key: str,
        *, revision: str, trained: TrainingConventions, assumed: str, rotation: str, gripper: str,
    ) -> None:
        self.config = config
        self.model = model
        self.prompt = prompt
        self.preprocessing = preprocessing
        self.norm_stats: Mapping[str, Any] = norm_stats.values
        self.norm_key = norm_key
        self.revision = revision
        self.trained = trained
        self.assumed = assumed  # of ``trained``, for want of knowing better; "" for nothing
        self.stats = action_stats(norm_stats, norm_key)
        self.codec = ActionCodec(config.action_vocab_size, config.action_bins)
        self.decoder: LlamaForCausalLM = model.language_model
        self.backbone = self.decoder.model
        self.head: ActionHead = TokenHead(self.decoder.lm_head, DOF)
        self.grid = config.grid
        self.bos_token_id = prompt.bos_token_id
        self.convention = ActionConvention(
            rotation=rotation, gripper=gripper, frame="base",
            control_period_s=trained.control_period_s,
        )

    @property
    def device(self) -> torch.device:
        return self.model.projector.fc1.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.projector.fc1.weight.dtype

    @property
    def vision_tower(self) -> torch.nn.Module:
        """The module that must run exactly once per frame."""
        return self.model.vision_backbone

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One picture (h, w, 3) uint8 RGB of any size."""
        if len(images) != self.views:
            raise PolicyError(f"{len(images)} pictures given; this policy takes {self.views}")
        tower_images = torch.stack([self.preprocessing.image(picture) for picture in images])
        return VisionInput(tower_images, self.preprocessing.pixels(tower_images.to(self.device)))

    def tokenize(self, instruction: str) -> PromptTokens:
        """The prompt behind the visual tokens, ending in the empty word of training."""
        return self.prompt.encode(instruction)

    @torch.no_grad()
    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """(V, 6, H, W) to visual embeddings (V * rows * cols, d), views in order."""
        size = self.config.image_size
        if tuple(pixels.shape[1:]) != (6, size, size):
            raise PolicyError(
                f"pixels of shape {tuple(pixels.shape)}: must be (V, 6, {size}, {size})"
            )
        return self.model.embed_vision(pixels.to(self.device, self.dtype)).flatten(0, 1)

    def decode_action(self, decided: Sequence[int]) -> Action:
        """7 token ids to an action in m, rad and the gripper convention. Raises ActionError for a
        token that is a word."""
        if len(decided) != DOF:
            raise PolicyError(f"{len(decided)} action tokens given; must be {DOF}")
        tokens = tuple(int(token) for token in decided)
        self.codec.require_actions(tokens)
        normalised = self.codec.decode(tokens)
        values = self.stats.unnormalise(normalised)
        if self.trained.units == "osc_pose":
            values[:6] *= OSC_POSE_SCALE
        values[3:6] = convert_rotation(values[3:6], self.trained.rotation, self.convention.rotation)
        values[6] = convert_gripper(float(values[6]), self.convention.gripper)
        return Action(values=values, normalised=normalised, token_ids=tokens)

    def encode_action(self, normalised: NDArray[np.float64]) -> list[int]:
        """The tokens nearest to normalised values (7,)."""
        return [int(token) for token in self.codec.encode(normalised)]


def load_openvla(
    model: str | Path, options: LoadOptions, *, progress: bool = True
) -> OpenVLAPolicy:
    """Load OpenVLA or a merged fine-tune of it from a checkpoint folder, or a hub id with
    ``revision``."""
    return load_source(locate(str(model), options.revision), options, progress=progress)


def load_source(source: Source, options: LoadOptions, *, progress: bool = True) -> OpenVLAPolicy:
    """Load what was located; no weights are fetched or read before everything else is checked.

    What the options leave open of how the checkpoint was trained is taken from the table in
    `datasets`.
    """

    def build(parts: _Parts, device: torch.device, dtype: torch.dtype) -> OpenVLAModel:
        network = build_network(
            source, lambda: OpenVLAModel(parts.config), unused_parameters(parts.config), device,
            dtype, published_name=published_name, progress=progress,
        )
        # Not a parameter and not in any checkpoint: the rotary frequencies, float32 by design.
        backbone = network.language_model.model
        backbone.rotary_emb = LlamaRotaryEmbedding(parts.config.llama).to(device)
        return network

    parts, network, revision = load_pinned(source, options, _Parts.read, build, progress=progress)
    policy = OpenVLAPolicy(
        parts.config, network, parts.prompt, parts.preprocessing, parts.norm_stats, parts.norm_key,
        revision=revision, trained=parts.trained, assumed=assumptions(parts.norm_key, options),
        rotation=options.rotation or "rpy", gripper=options.gripper or "one_is_open",
    )
    logger.info(
        "%s at %s, unnorm_key %s of %s, %s", printable(source.contents.place), revision,
        printable(parts.norm_key), parts.norm_stats.file, parts.trained,
    )
    if policy.assumed:
        logger.warning("%s", printable(policy.assumed, MESSAGE))
    return policy


@dataclass(frozen=True)
class _Parts:
    """A checkpoint without its weights, checked."""

    config: OpenVLAConfig
    norm_stats: Fields
    norm_key: str
    trained: TrainingConventions
    prompt: Prompt
    preprocessing: Preprocessing

    @classmethod
    def read(cls, folder: Path, options: LoadOptions) -> _Parts:
        _refuse_options(options)
        config = OpenVLAConfig.read(folder)
        norm_stats = read_norm_stats(folder, config.norm_stats)
        norm_key = choose_key(norm_stats.values, options.unnorm_key)
        action_stats(norm_stats, norm_key)
        trained = conventions_for(norm_key, options)
        visual = config.grid[0] * config.grid[1]
        prompt = Prompt.load(
            folder, config.max_prompt_tokens - 1 - visual - DOF, config.action_bins
        )
        _check_vocabulary(config, prompt)
        preprocessing = read_preprocessing(
            folder, config, rotation=trained.image_rotation, crop=trained.crop
        )
        return cls(config, norm_stats, norm_key, trained, prompt, preprocessing)


def _refuse_options(options: LoadOptions) -> None:
    if options.trained_gripper not in ("", "one_is_open"):
        raise PolicyError(
            f"trained_gripper={options.trained_gripper!r}: OpenVLA's data loader makes 1 = open of "
            "every set; leave it empty"
        )
    if options.cameras:
        raise PolicyError(
            f"cameras={options.cameras!r}: an OpenVLA checkpoint has one camera and no name for "
            "it; leave it empty"
        )


def _check_vocabulary(config: OpenVLAConfig, prompt: Prompt) -> None:
    """Action tokens are counted from the tokenizer's end: off by some, every action is wrong."""
    size, rows = config.action_vocab_size, int(config.llama.vocab_size)
    if prompt.vocab_size == size:
        return
    fitting = rows - prompt.vocab_size
    remedy = "take the tokenizer.json and config.json that the checkpoint was trained with"
    if fitting >= 0:
        remedy += (
            f"; if this tokenizer.json is that one, pad_to_multiple_of is {fitting} (published "
            "checkpoints have 64)"
        )
    raise PolicyError(
        f"tokenizer.json has {prompt.vocab_size} tokens, config.json implies {size}: "
        f"text_config.vocab_size={rows} less pad_to_multiple_of={rows - size}; actions would be "
        f"decoded from the wrong tokens; {remedy}"
    )
