# SPDX-License-Identifier: Apache-2.0
"""What every measurement writes beside its figures, to judge and repeat them by."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.report.machine import hardware, versions


def machine() -> dict[str, Any]:
    """What is measured on, at the start of a command: the load is that before its own."""
    return {"hardware": hardware(), "versions": versions()}


def of(
    benchmark: str, options: argparse.Namespace, on: Mapping[str, Any], tables: Mapping[str, Any]
) -> dict[str, Any]:
    """The tables with their command and options. on: `machine`, taken before."""
    gpu: dict[str, str] = {}
    if getattr(options, "device", "").startswith("cuda"):
        import torch

        gpu = {"gpu": torch.cuda.get_device_name()}
    return {
        "command": f"python -m vla_infoentropy_ros bench {benchmark}", "options": vars(options),
        **on, "hardware": on["hardware"] | gpu, **tables,
    }


def write(path: Path | None, record: Mapping[str, Any]) -> None:
    """As JSON, where a file was asked for."""
    if path:
        text = json.dumps(record, indent=2, default=os.fspath)  # of options, some are paths
        path.write_text(text + "\n", encoding="utf-8")
