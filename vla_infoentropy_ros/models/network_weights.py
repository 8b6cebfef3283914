# SPDX-License-Identifier: Apache-2.0
"""Building a checkpoint's network: what it holds is checked against the model, pinned and read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.foreign.text import one_line
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.environment import (
    TORCH_DTYPES,
    check_memory,
    free_bytes,
    parse_device,
)
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import REMEDY
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.source import Source, pinned_revision
from vla_infoentropy_ros.models.weight_files import StoredTensor, read_table

FLOATS = {"F64", "F32", "F16", "BF16"}
ROWS = 4096  # that are compared at once

Parts = TypeVar("Parts")
Network = TypeVar("Network", bound=nn.Module)


def load_pinned(
    source: Source, options: LoadOptions, read: Callable[[Path, LoadOptions], Parts],
    build: Callable[[Parts, torch.device, torch.dtype], Network], *, progress: bool = True,
) -> tuple[Parts, Network, str]:
    """A checkpoint's parts, its network and the revision that both are of.

    read: checks everything but the weights; build: makes the network of what that gave. No
    weights are fetched or read before the parts are in order.
    """
    device = parse_device(options.device)
    if source.absent or not options.revision:  # no pin that should speak first
        read(source.folder, options)  # here too, since fetching or hashing 15 GB takes long
    revision = pinned_revision(source, options.revision, progress=progress)
    parts = read(source.folder, options)  # what was pinned
    network = build(parts, device, TORCH_DTYPES[options.dtype])
    if pinned_revision(source, options.revision) != revision:
        raise PolicyError(
            f"{source.folder} changed while it was loaded; let it be completed, then load"
        )
    return parts, network, revision


def build_network(
    source: Source, make: Callable[[], Network], unused: str, device: torch.device,
    dtype: torch.dtype, *, published_name: Callable[[str], str] = str,
    stand_ins: Mapping[str, str] | None = None, progress: bool = True,
) -> Network:
    """The network that ``make`` lays out, with the checkpoint's weights.

    unused: names that a checkpoint holds and the network, on purpose, does not; a regular
    expression. stand_ins: by a parameter's name, the one that tied weights may be stored by in its
    place; where both are there they must hold the same. Buffers are not filled. Raises PolicyError
    for weights that are others.
    """
    try:
        with torch.device("meta"):
            network = make()
    except Exception as error:  # sizes that fit each on its own and not together
        raise PolicyError(
            f"{source.folder / CONFIG} describes a network that cannot be built "
            f"({one_line(f'{type(error).__name__}: {error}')}); {REMEDY}"
        ) from error
    table = read_table(source.folder, source.weights, published_name)
    for name, stored in (stand_ins or {}).items():
        if name not in table and stored in table:
            table[name] = table.pop(stored)
    check_table(table, network, re.compile(unused), source.family.name)
    for name, stored in (stand_ins or {}).items():
        if stored in table:
            _check_tied(table[name], table[stored])
    needed = sum(parameter.numel() for parameter in network.parameters()) * dtype.itemsize
    check_memory(needed, device, dtype, free_bytes(device))
    fill(network, table, device, dtype, progress=progress)
    return network.eval().requires_grad_(False)


def check_table(
    table: Mapping[str, StoredTensor], model: nn.Module, unused: re.Pattern[str], family: str
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
        raise PolicyError(
            f"the checkpoint lacks {_some(missing)}; is it a checkpoint of {family}?"
        )
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


def _check_tied(one: StoredTensor, other: StoredTensor) -> None:
    """Raise PolicyError where weights that are one in the network are stored twice and differ."""
    alike = one.shape == other.shape
    with safe_open(one.file, "pt") as ours, safe_open(other.file, "pt") as theirs:
        mine, its = ours.get_slice(one.name), theirs.get_slice(other.name)
        for first in range(0, one.shape[0] if alike else 0, ROWS):  # a table of words is 1 GB
            rows = slice(first, first + ROWS)
            alike = alike and torch.equal(mine[rows].float(), its[rows].float())
    if not alike:
        raise PolicyError(
            f"{one.file.parent}: {other.name} and {one.name}, which are one table in the network, "
            "hold different numbers: nobody can tell which were trained; save the policy anew "
            "where it was trained"
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
