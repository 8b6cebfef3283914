# SPDX-License-Identifier: Apache-2.0
"""What the machine must offer before weights are read: device, type, memory."""

from __future__ import annotations

from pathlib import Path

import torch

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import DTYPES

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}


def parse_device(name: str) -> torch.device:
    """A torch device that exists on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PolicyError(f"device={name!r}: must be cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise PolicyError(f"device={name!r}: must be cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise PolicyError(
                f"device={name!r}: torch {torch.__version__} sees {count} CUDA devices; use "
                "device=cpu or install a CUDA build of torch and its driver"
            )
    return device


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken on ``device``; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [limit for limit in (_system_available(), _control_group_free()) if limit is not None]
    return min(limits, default=None)


def check_memory(needed: int, device: torch.device, dtype: torch.dtype, free: int | None) -> None:
    """Refuse to begin a load that cannot end. needed, free: bytes."""
    if free is None or needed <= free:
        return
    smaller = "" if dtype.itemsize <= 2 else " load it with dtype=bfloat16 (half of that),"
    place = "GPU memory" if device.type == "cuda" else "memory"
    other = "device=cpu" if device.type == "cuda" else "a machine with more memory"
    raise PolicyError(
        f"the weights need {needed / 1e9:.1f} GB of {place} on {device} as "
        f"{str(dtype).removeprefix('torch.')}, {free / 1e9:.1f} GB are free:{smaller} "
        f"end other programs, or use {other}"
    )


def _system_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _control_group_free() -> int | None:
    """What a container may still take (cgroup v2); page cache can be given back."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
        statistics = (root / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    cached = sum(int(line.split()[1]) for line in statistics if line.startswith("file "))
    return int(limit) - used + cached
