# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's weights: checking them against the model, reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.weight_files import StoredTensor

FLOATS = {"F64", "F32", "F16", "BF16"}


def published_name(name: str) -> str:
    """Without the prefix that a merged LoRA or a wrapped model leaves, and with the published
    name of a layer scale."""
    name = name.removeprefix("module.").removeprefix("base_model.model.")
    return re.sub(r"\.(ls[12])\.gamma$", r".\1.scale_factor", name)


def check_table(
    table: Mapping[str, StoredTensor], model: nn.Module, unused: re.Pattern[str]
) -> None:
    """Raise PolicyError unless the stored tensors are exactly the model's parameters."""
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    adapters = [name for name in table if ".lora_" in name or ".base_layer." in name]
    if adapters:
        raise PolicyError(
            f"the checkpoint holds unmerged LoRA weights ({adapters[0]}, ...); merge them into the "
            "base model (merge_and_unload) and save that"
        )
    if missing := [name for name in wanted if name not in table]:
        raise PolicyError(f"the checkpoint lacks {_some(missing)}; is it an OpenVLA checkpoint?")
    extra = [name for name in table if name not in wanted and not unused.match(name)]
    if extra:
        raise PolicyError(
            f"the checkpoint holds what this architecture has no place for: {_some(extra)}; its "
            "config.json describes another model"
        )
    wrong = [
        f"{name} is {table[name].shape}, must be {shape}"
        for name, shape in wanted.items() if table[name].shape != shape
    ]
    if wrong:
        raise PolicyError(f"shapes disagree with config.json: {_some(wrong)}")
    other = [f"{name} ({table[name].dtype})" for name in wanted if table[name].dtype not in FLOATS]
    if other:
        raise PolicyError(
            f"weights are not floating point: {_some(other)}; quantised checkpoints are not "
            "supported, load the original one"
        )


def fill(
    model: nn.Module, table: Mapping[str, StoredTensor], device: torch.device,
    dtype: torch.dtype, *, progress: bool,
) -> None:
    """Replace the model's parameters (on the meta device) by the stored ones, file by file."""
    by_file: dict[Path, list[str]] = {}
    for name, _ in model.named_parameters():
        by_file.setdefault(table[name].file, []).append(name)
    total = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    with tqdm(
        total=total, unit="B", unit_scale=True, desc="loading weights", mininterval=1.0,
        disable=not progress,
    ) as bar:
        for file, names in by_file.items():
            with safe_open(file, framework="pt") as reader:
                for name in names:
                    stored = reader.get_tensor(table[name].name)
                    value = stored.to(device=device, dtype=dtype, copy=True)
                    _assign(model, name, value)
                    bar.update(value.numel() * value.element_size())


def _assign(model: nn.Module, name: str, value: torch.Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))


def _some(items: list[str], limit: int = 4) -> str:
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")
