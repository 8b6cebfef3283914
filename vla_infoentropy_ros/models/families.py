# SPDX-License-Identifier: Apache-2.0
"""Which kind of policy a checkpoint is, by what it says of itself; no torch in here.

Many policies share their layout with one that runs here: an OpenVLA-OFT folder loads as OpenVLA
without an error, and moves the arm wrongly. So every checkpoint, in a folder or on the hub, is
recognised by these tables before any of it is loaded. To add a family: an entry in `FAMILIES`
without ``missing``, and its loader in `loading.LOADERS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.contents import Contents
from vla_infoentropy_ros.models.json_fields import read_json

CONFIG = "config.json"
EMBEDDED_CONFIG = "policy.json"  # what an embedded policy has in its place


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    kinds: what ``model_type`` (transformers) or ``type`` (LeRobot) of its config.json may be, a
    regular expression. missing: what it would take to run it here, "" if it runs. side_weights:
    names of weight files beside the model's own that it reads, a regular expression.
    """

    name: str
    kinds: str
    missing: str = ""
    side_weights: str = r"(?!)"  # none


@dataclass(frozen=True)
class Mark:
    """Files that make another model of a checkpoint, whatever its config.json says.

    files: shell patterns. what: they are. remedy: what to do about them.
    """

    files: tuple[str, ...]
    what: str
    remedy: str


LEROBOT_STATISTICS = r"policy_(pre|post)processor_step_\d+_(un)?normalizer_processor\.safetensors"

FAMILIES = (
    Family("OpenVLA", r"openvla"),
    Family("SmolVLA", r"smolvla", side_weights=LEROBOT_STATISTICS),
    Family("pi0", r"pi0", side_weights=LEROBOT_STATISTICS),
    Family("pi0.5", r"pi0_?5|pi0\.5",
           "an expert whose norms follow the flow time, and robot state as tokens of the prompt, "
           "which changes all keys and values at every step"),
    Family("pi0-FAST", r"pi0_?fast", "the FAST action tokenizer and a PaliGemma decoder"),
    Family("GR00T", r"(?i:gr00t.*|groot.*)",
           "an Eagle or Qwen3-VL backbone and a diffusion head that reads its hidden states"),
    Family("X-VLA", r"xvla|x-vla", "a Florence-2 encoder and a flow head with soft prompts"),
    Family("Prismatic", r"prismatic",
           "action tokens: it is a vision-language model, not a policy; fine-tune it to one"),
    Family("LeRobot policy without language", r"act|diffusion|multi_task_dit|vqbet|tdmpc|sac",
           "an instruction, which it was not trained to follow"),
)

MARKS = (
    Mark(
        ("adapter_config.json", "adapter_model.*", "*/adapter_config.json", "*/adapter_model.*",
         "lora_adapter"),
        "a LoRA adapter: what is loaded without it is another policy",
        "merge it into the base model (merge_and_unload) and save that to a folder of its own; if "
        "the weights here are the merged ones, move the adapter's files elsewhere",
    ),
    Mark(
        ("action_head*", "proprio_projector*", "noisy_action_projector*", "vision_backbone[-.]*"),
        "a part of an OpenVLA-OFT checkpoint",
        "it needs an action head, robot state or modulated towers beside the language model, all "
        "of its actions at once and attention in both directions, which this package does not "
        "have; name a checkpoint that emits action tokens one by one",
    ),
    Mark(
        ("action_decoder*",),
        "the decoder of latent actions, as UniVLA has",
        "this package decodes OpenVLA's action tokens only; name such a checkpoint",
    ),
    Mark(
        ("params/_METADATA",),
        "openpi's JAX weights",
        "convert them to safetensors with openpi's or LeRobot's script",
    ),
    Mark(
        ("checkpoints/*.pt",),
        "weights as OpenVLA's trainer from scratch writes them",
        "convert them (convert_openvla_weights_to_hf.py, in its repository) and name the folder "
        "that this writes",
    ),
)

# A name that the code of OpenVLA-OFT has and that of OpenVLA has not: actions of a chunk.
CHUNK = re.compile(r"\bNUM_ACTIONS_CHUNK\b")
CHUNK_LENGTH = re.compile(r"\bNUM_ACTIONS_CHUNK\b[\"']?\s*(?::\s*int\s*)?[:=]\s*(\d{1,4})\b")
COMMENT = re.compile(r"#.*")


def recognise(contents: Contents) -> Family:
    """The family of a checkpoint; raises PolicyError for one that cannot be run here, by name."""
    _refuse_marks(contents)
    config = _config(contents)
    kind = config.get("model_type") or config.get("type")
    if config.get("type") not in (None, kind):
        raise PolicyError(
            f"{contents.place}: {CONFIG} says model_type={shown(kind)} and type="
            f"{shown(config['type'])}, two kinds of policy; fetch the file again"
        )
    family = next((f for f in FAMILIES if re.fullmatch(f.kinds, str(kind))), None)
    if family is None:
        raise PolicyError(
            f"{contents.place}: {CONFIG} says model_type={shown(kind)}, must be "
            f"{' or '.join(_running())}; name such a checkpoint's folder"
        )
    if family.missing:
        raise PolicyError(
            f"{contents.place} is a {family.name} checkpoint ({shown(kind)} in {CONFIG}), which "
            f"does not run here: it would take {family.missing}"
        )
    _refuse_chunks(contents)
    return family


def _running() -> list[str]:
    return [repr(family.kinds) for family in FAMILIES if not family.missing]


def _refuse_marks(contents: Contents) -> None:
    for mark in MARKS:
        if found := contents.matching(*mark.files):
            raise PolicyError(f"{contents.place} holds {found[0]}, {mark.what}; {mark.remedy}")


def _config(contents: Contents) -> Mapping[str, Any]:
    if CONFIG in contents.names:
        return read_json(contents.folder / CONFIG)
    raise PolicyError(f"{contents.place}: {CONFIG} is missing; {_nearby(contents)}")


def _nearby(contents: Contents) -> str:
    """Where the checkpoint may be instead."""
    if "snapshots/" in contents.names:  # the root of a model in the hub's cache
        commits = [f"snapshots/{name.split('/')[1]}" for name in contents.matching("snapshots/*")]
        return "this is a cache of the hub; name " + (
            " or ".join(commits[:3]) if commits else "snapshots/<commit>"
        ) + " in it"
    if within := contents.matching(f"*/{CONFIG}"):
        return f"did you mean {within[0].removesuffix(f'/{CONFIG}')} in it?"
    return "name a complete checkpoint folder"


def _refuse_chunks(contents: Contents) -> None:
    """OpenVLA-OFT with discrete tokens: its files are OpenVLA's, its code tells."""
    code = COMMENT.sub("", contents.code())
    if not CHUNK.search(code):
        return
    lengths = sorted({int(length) for length in CHUNK_LENGTH.findall(code)})
    length = f"chunks of {' or '.join(map(str, lengths))} actions" if lengths else "action chunks"
    raise PolicyError(
        f"{contents.place} is an OpenVLA-OFT checkpoint: its Python code (modeling_prismatic.py) "
        f"predicts {length} at once and with attention in both directions, which this package "
        "does not have; name a checkpoint that emits action tokens one by one; if it was trained "
        "by OpenVLA's own script, put that script's modeling_prismatic.py in its place"
    )
