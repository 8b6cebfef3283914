# SPDX-License-Identifier: Apache-2.0
"""Random OpenVLA checkpoints in every way that a checkpoint is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.tiny import (
    VOCAB,
    action_stats,
    tiny_config,
    tiny_preprocessor,
    tiny_tensors,
    tiny_tokenizer,
)


def write_tiny_openvla(
    folder: Path,
    *,
    sharded: bool = False,
    dataset_statistics: bool = False,
    seed: int = 0,
    image_size: int = 224,
    llama: dict[str, Any] | None = None,
    norm_keys: tuple[str, ...] = ("bridge_orig", "fractal20220817_data"),
    name_prefix: str = "",
    dtype: torch.dtype = torch.float32,
    vocab: int = VOCAB,
) -> Path:
    """A checkpoint folder: config.json, weights, tokenizer.json, preprocessor_config.json.

    image_size: px, a multiple of 14; 224 gives 256 visual tokens. llama: overrides of the
    language model's config, e.g. grouped queries. dataset_statistics: what a fine-tune leaves,
    under the key "my_robot". name_prefix: as a wrapped model would save, "base_model.model.".
    vocab: tokens; 32000 puts the empty word where Llama has it, for 16 MB more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(image_size, llama, norm_keys, vocab)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "preprocessor_config.json").write_text(json.dumps(tiny_preprocessor(image_size)))
    tiny_tokenizer(vocab).save(str(folder / "tokenizer.json"))
    if dataset_statistics:
        (folder / "dataset_statistics.json").write_text(
            json.dumps({"my_robot": action_stats(0.01)})
        )
    tensors = {
        name_prefix + name: value.to(dtype)
        for name, value in tiny_tensors(OpenVLAConfig.from_mapping(config), seed).items()
    }
    if not sharded:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(tensors)
    half = len(names) // 2
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
