# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's weights: checking them against the model, reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields, read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD = re.compile(r"[\w.-]{1,200}\.safetensors")
FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: file, the name it has there, its type code and its shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def read_table(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint by name, from the headers alone."""
    table: dict[str, StoredTensor] = {}
    for file, names in _files(folder).items():
        try:
            with safe_open(file, framework="pt") as reader:
                for name in sorted(set(reader.keys()) if names is None else names):
                    part = reader.get_slice(name)
                    table[_canonical(name)] = StoredTensor(
                        file, name, str(part.get_dtype()), tuple(part.get_shape())
                    )
        except (SafetensorError, OSError) as error:
            raise PolicyError(
                f"{file} cannot be read ({error}); it is damaged or incomplete, fetch it again"
            ) from error
    return table


def _files(folder: Path) -> dict[Path, set[str] | None]:
    """Weight files and the names that each must hold; None: whatever it holds."""
    if (folder / INDEX).is_file():
        weight_map = Fields(str(folder / INDEX), read_json(folder / INDEX)).object("weight_map")
        if not weight_map.values:
            raise PolicyError(f"{folder / INDEX} has no weight_map; fetch it again")
        files: dict[Path, set[str] | None] = {}
        for name, file in weight_map.values.items():
            if not isinstance(file, str) or not SHARD.fullmatch(file):
                weight_map.refuse(name, "the name of a safetensors file in the same folder")
            names = files.setdefault(folder / file, set())
            assert names is not None
            names.add(name)
        missing = sorted(file.name for file in files if not file.is_file())
        if missing:
            raise PolicyError(
                f"{folder}: {len(missing)} of {len(files)} shards are missing: "
                f"{', '.join(missing)}; fetch them again"
            )
        return files
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        raise PolicyError(
            f"{folder} holds pickled weights only; convert them to safetensors where they come from"
        )
    raise PolicyError(f"{folder}: neither {INDEX} nor {SINGLE}; name a checkpoint folder")


def _canonical(name: str) -> str:
    """The published name: without the prefix that a merged LoRA or a wrapped model leaves, and
    with the published name of a layer scale."""
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
