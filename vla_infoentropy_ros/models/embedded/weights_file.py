# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the weights file; fp16 on disk, fp32 in memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vla_infoentropy_ros.foreign.files import check_weights
from vla_infoentropy_ros.foreign.text import one_line
from vla_infoentropy_ros.models.adapter import PolicyError

FILES = ("policy.json", "policy.safetensors")
SHIPPED = Path(__file__).parent / "weights"
_RETRAIN = "retrain with 'python -m vla_infoentropy_ros.training'"


def weights_folder(path: str | Path | None) -> Path:
    """The folder to load from; raises when a file is missing there."""
    folder = SHIPPED if path is None else Path(path).expanduser()
    remedy = "reinstall the package or " + _RETRAIN if path is None else (
        "give the folder that holds policy.json and policy.safetensors, or leave the path empty "
        "for the weights that come with the package"
    )
    if not folder.is_dir():
        raise PolicyError(f"weights folder {folder} does not exist; {remedy}")
    for name in FILES:
        if not (folder / name).is_file():
            raise PolicyError(f"{folder / name} is missing; {remedy}")
    return folder


def read_weights(path: Path, network: nn.Module, revision: str) -> None:
    """Fill ``network`` from ``path``; every tensor must be there, and fit."""
    try:
        check_weights(path, PolicyError)
        with safe_open(path, framework="pt") as file:
            stored = (file.metadata() or {}).get("revision", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PolicyError(
            f"{path} is not a readable safetensors file ({one_line(error)}); restore it from the "
            f"repository or {_RETRAIN}"
        ) from error
    if stored != revision:
        raise PolicyError(
            f"{path} has revision {stored!r} but policy.json beside it says {revision!r}; the two "
            "files belong together, copy both from the same place"
        )
    wanted = network.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise PolicyError(f"{path}: tensors missing {missing[:4]}, unknown {unknown[:4]}; "
                          f"it does not fit policy.json, {_RETRAIN}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise PolicyError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, policy.json asks for "
                f"{tuple(wanted[name].shape)}; the two files do not belong together"
            )
        if not torch.isfinite(tensor).all():
            raise PolicyError(f"{path}: tensor {name} holds NaN or infinity; {_RETRAIN}")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def write_weights(path: Path, network: nn.Module, revision: str) -> None:
    """Write ``network`` in fp16, so that ``path`` is at every moment whole, old or new."""
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        save_file(tensors, part, metadata={"revision": revision})
        part.chmod(0o644)  # safetensors leaves it to the owner alone; an installed copy is for all
        os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is at every moment whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
