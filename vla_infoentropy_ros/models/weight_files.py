# SPDX-License-Identifier: Apache-2.0
"""Which files hold a checkpoint's weights: one source for every tensor, or a refusal.

A folder that was written twice, or put together from two, holds everything that is asked for and
more. Which of two copies was meant nobody can tell, so neither is taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vla_infoentropy_ros.foreign.files import check_weights
from vla_infoentropy_ros.foreign.text import one_line
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.contents import Contents
from vla_infoentropy_ros.models.families import Family
from vla_infoentropy_ros.models.json_fields import Fields, read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD = re.compile(r"[\w.-]{1,200}\.safetensors")
NUMBERED = re.compile(r"(.*)-(\d{1,6})-of-(\d{1,6})\.safetensors")
ANY_WEIGHTS = re.compile(r".+\.(safetensors|bin|pt|pth|ckpt|msgpack|h5|gguf|onnx)")
PICKLED = re.compile(r".+\.(bin|pt|pth|ckpt)")
# What trainers leave beside a model and no policy reads.
LEFTOVERS = re.compile(
    r"(optimizer|scheduler|scaler|training_args|training_state)(_\d+)?\.(bin|pt|pth|safetensors)"
    r"|rng_state(_\d+)?\.pth"
)
ONE_COPY = "keep the one that is meant and move the other away"

# By file name: the tensors that an index expects in it; None: whatever it holds.
WeightFiles = Mapping[str, frozenset[str] | None]


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: file, the name it has there, its type code and its shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def weight_files(contents: Contents, family: Family) -> WeightFiles:
    """The files of a checkpoint's weights. Needs its index and the names of all files, not the
    weights themselves."""
    used = _indexed(contents) if INDEX in contents.names else _single(contents)
    strays = [
        name for name in contents.names
        if ANY_WEIGHTS.fullmatch(name) and "/" not in name and name not in used
        and not LEFTOVERS.fullmatch(name) and not re.fullmatch(family.side_weights, name)
    ]
    if strays:
        source = INDEX if INDEX in contents.names else SINGLE
        raise PolicyError(
            f"{contents.place} holds {strays[0]} beside the weights of {source}: a second copy of "
            f"them, or a part of the policy that would not be loaded; {ONE_COPY}"
        )
    return used


def _single(contents: Contents) -> WeightFiles:
    if SINGLE in contents.names:
        return {SINGLE: None}
    if any(PICKLED.fullmatch(name) for name in contents.names):
        raise PolicyError(
            f"{contents.place} holds pickled weights only; convert them to safetensors where they "
            "come from"
        )
    raise PolicyError(
        f"{contents.place}: neither {INDEX} nor {SINGLE}; name a complete checkpoint folder"
    )


def _indexed(contents: Contents) -> WeightFiles:
    path = contents.folder / INDEX
    weight_map = Fields(str(path), read_json(path)).object("weight_map")
    if not weight_map.values:
        raise PolicyError(f"{path} has no weight_map; fetch it again")
    tensors: dict[str, set[str]] = defaultdict(set)
    for name, file in weight_map.values.items():
        if not isinstance(file, str) or not SHARD.fullmatch(file):
            weight_map.refuse(name, "the name of a safetensors file in the same folder")
        tensors[file].add(name)
    missing = sorted(set(tensors) - set(contents.names))
    if missing:
        raise PolicyError(
            f"{contents.place}: {len(missing)} of {len(tensors)} shards are missing: "
            f"{', '.join(missing[:4])}; fetch them again"
        )
    _check_numbers(path, sorted(tensors))
    return {file: frozenset(names) for file, names in tensors.items()}


def _check_numbers(index: Path, files: list[str]) -> None:
    """Shards of one save are numbered alike."""
    numbers = {file: found.groups() for file in files if (found := NUMBERED.fullmatch(file))}
    if not numbers:
        return
    first, (stem, _, count) = next(iter(numbers.items()))
    for file in files:
        if file not in numbers or (numbers[file][0], numbers[file][2]) != (stem, count):
            raise PolicyError(
                f"{index} takes tensors from {first} and from {file}, which were not saved "
                "together; fetch the index and all shards of one training step"
            )


def read_table(
    folder: Path, files: WeightFiles, published_name: Callable[[str], str] = str
) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint by its published name, from the headers alone.

    published_name: from the name in a file, which a wrapper may have prefixed.
    """
    owners = {name: file for file, names in files.items() for name in names or ()}
    table: dict[str, StoredTensor] = {}
    written: dict[str, tuple[str, str]] = {}  # metadata: value, and the file that has it
    for file, expected in files.items():
        try:
            check_weights(folder / file, PolicyError)
            with safe_open(folder / file, framework="pt") as reader:
                _same_save(file, reader.metadata() or {}, written)
                names = set(reader.keys())
                if expected is not None:
                    _as_indexed(folder / file, names, expected, owners)
                for name in sorted(names):
                    part = reader.get_slice(name)
                    stored = StoredTensor(
                        folder / file, name, str(part.get_dtype()), tuple(part.get_shape())
                    )
                    _enter(table, published_name(name), stored)
        except (SafetensorError, OSError) as error:
            raise PolicyError(
                f"{folder / file} cannot be read ({one_line(error)}); it is damaged or incomplete, "
                "fetch it again"
            ) from error
    return table


def _same_save(file: str, metadata: Mapping[str, str], written: dict[str, tuple[str, str]]) -> None:
    for key, value in metadata.items():
        other, owner = written.setdefault(key, (value, file))
        if other != value:
            raise PolicyError(
                f"{owner} says {key}={other!r} of itself and {file} {value!r}: they were not saved "
                "together; fetch the index and all shards of one training step"
            )


def _as_indexed(
    path: Path, names: set[str], expected: frozenset[str], owners: Mapping[str, str]
) -> None:
    """A shard holds what its index says, no less and no more."""
    if lacking := sorted(expected - names):
        raise PolicyError(
            f"{path} lacks {lacking[0]}, which {INDEX} says is in it; the two belong to different "
            "saves, fetch both again"
        )
    if more := sorted(names - expected):
        owner = owners.get(more[0])
        raise PolicyError(
            f"{path} holds {more[0]}, which {INDEX} "
            + (f"takes from {owner}" if owner else "does not name")
            + "; they belong to different saves, fetch the index and all shards of one"
        )


def _enter(table: dict[str, StoredTensor], name: str, stored: StoredTensor) -> None:
    other = table.setdefault(name, stored)
    if other is not stored:
        raise PolicyError(
            f"two copies of one tensor: {other.name} in {other.file} and {stored.name} in "
            f"{stored.file}; save the model once, unwrapped (merge_and_unload), into an empty "
            "folder"
        )
