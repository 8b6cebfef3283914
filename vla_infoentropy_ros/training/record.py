# SPDX-License-Identifier: Apache-2.0
"""What a training record says about where it was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "transformers", "mujoco", "numpy", "safetensors")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, Python and package versions; nothing that names a host or a user."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def device_name(device: torch.device) -> str:
    """What computed, as its maker calls it; "cpu" for the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
