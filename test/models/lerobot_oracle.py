# SPDX-License-Identifier: Apache-2.0
"""Runs in an environment of LeRobot's own: a checkpoint folder and an observation to a chunk.

    python lerobot_oracle.py FOLDER OBSERVATION.npz CHUNK.npy

Its own processors, its own network, its own weights file; the vision-language model's sizes and
tokenizer come from the folder in place of the hub. LeRobot's pi0 wants a transformers that was
changed for it and is in no registry; what was changed is done here to release 4.57.
"""

import copy
import json
import shutil
import sys
import tempfile
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except ImportError:  # imported by its data sets' pictures, which nothing here looks at
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.v2",
                 "torchvision.transforms.functional", "torchvision.transforms.v2.functional"):
        sys.modules[name] = MagicMock(__spec__=ModuleSpec(name, None), __version__="0.0")

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.pi0 import modeling_pi0
from lerobot.policies.pi0.configuration_pi0 import PI0Config
from lerobot.policies.smolvla import smolvlm_with_expert
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import (
    policy_action_to_transition,
    transition_to_policy_action,
)
from safetensors.torch import load_file
from transformers import GemmaModel, PaliGemmaModel, PreTrainedTokenizerFast
from transformers.models import siglip
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionEmbeddings


def embed_patches(self, pixel_values, patch_attention_mask):
    """Patch i at position i, as transformers 5 has it. Release 4.57 puts every patch but the first
    one place too far to the left and to the top: it scales i / n by 1 - 1e-6, which falls below
    the boundary at i / n."""
    rows = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
    return rows + self.position_embedding.weight


def settings_of(folder: Path, kind: type) -> dict:
    """Those of config.json that its class has, the features as its own."""
    settings = json.loads((folder / "config.json").read_text())
    for part in ("input_features", "output_features"):
        settings[part] = {
            name: PolicyFeature(FeatureType(each["type"]), tuple(each["shape"]))
            for name, each in settings[part].items()
        }
    known = kind.__dataclass_fields__.keys() - {"normalization_mapping"}
    return {name: value for name, value in settings.items() if name in known}


def smolvla(folder: Path) -> SmolVLAPolicy:
    SmolVLMVisionEmbeddings.forward = embed_patches
    with tempfile.TemporaryDirectory() as vlm:
        shutil.copy(folder / "vlm_config.json", Path(vlm) / "config.json")
        signs = types.SimpleNamespace(fake_image_token_id=1, global_image_token_id=2)
        smolvlm_with_expert.AutoProcessor = MagicMock()
        smolvlm_with_expert.AutoProcessor.from_pretrained.return_value.tokenizer = signs
        settings = settings_of(folder, SmolVLAConfig) | {"vlm_model_name": vlm}
        return SmolVLAPolicy(SmolVLAConfig(**settings))


def pi0(folder: Path) -> modeling_pi0.PI0Policy:
    """Sizes of tiny_sizes.json in place of those that it has by name."""
    tiny = json.loads((folder / "tiny_sizes.json").read_text())
    siglip.check = types.SimpleNamespace(
        check_whether_transformers_replace_is_installed_correctly=lambda: True
    )
    modeling_pi0.get_gemma_config = lambda variant: modeling_pi0.GemmaConfig(**tiny[variant])
    for name in ("PaliGemmaForConditionalGeneration", "GemmaForCausalLM"):
        setattr(modeling_pi0, name, smaller(getattr(modeling_pi0, name), tiny))
    forward, pictures = GemmaModel.forward, PaliGemmaModel.get_image_features

    def unscaled(self, inputs_embeds, past_key_values, adarms_cond, **rest):
        kept = copy.deepcopy(past_key_values)  # a pass that keeps nothing adds nothing
        scaled = inputs_embeds / self.config.hidden_size**0.5
        return forward(self, inputs_embeds=scaled, past_key_values=kept, **rest)

    def features(self, pixels):
        return pictures(self, pixels) * self.config.text_config.hidden_size**0.5

    GemmaModel.forward, PaliGemmaModel.get_image_features = unscaled, features
    return modeling_pi0.PI0Policy(PI0Config(**settings_of(folder, PI0Config)))


def smaller(kind: type, tiny: dict):
    def build(config):
        getattr(config, "text_config", config).vocab_size = tiny["vocabulary"]
        if hasattr(config, "vision_config"):
            config._vocab_size = tiny["vocabulary"]
            config.vision_config.update(tiny["vision"])
        return kind(config=config)

    return build


def network(folder: Path) -> SmolVLAPolicy | modeling_pi0.PI0Policy:
    kind = json.loads((folder / "config.json").read_text())["type"]
    policy = {"smolvla": smolvla, "pi0": pi0}[kind](folder)
    missing, extra = policy.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tied = [name for name in missing if name.endswith("language_model.embed_tokens.weight")]
    assert missing == tied and not extra, (missing, extra)
    return policy.eval()


def main() -> None:
    folder, observation = Path(sys.argv[1]), dict(np.load(sys.argv[2]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|endoftext|>"
    )
    before = PolicyProcessorPipeline.from_pretrained(
        folder, config_filename="policy_preprocessor.json",
        overrides={"tokenizer_processor": {"tokenizer": tokenizer}},
    )
    after = PolicyProcessorPipeline.from_pretrained(
        folder, config_filename="policy_postprocessor.json",
        to_transition=policy_action_to_transition, to_output=transition_to_policy_action,
    )
    noise, task = torch.from_numpy(observation.pop("noise")), str(observation.pop("task"))
    raw = {
        name: torch.from_numpy(value).permute(2, 0, 1).float() / 255 if value.ndim == 3
        else torch.from_numpy(value).float()
        for name, value in observation.items()
    }
    with torch.no_grad():
        batch = before(raw | {"task": task})
        chunk = network(folder).predict_action_chunk(batch, noise=noise)
    np.save(sys.argv[3], after(chunk)[0].numpy())


main()
