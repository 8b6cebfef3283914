# SPDX-License-Identifier: Apache-2.0
"""Packages that not everybody needs: which extra of this one brings them; a sentence where one is
missing. Nothing is imported here; `nodes` says it of ROS."""

from __future__ import annotations

from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.share import PACKAGE

EXTRAS = {
    "bags": ("lz4", "mcap", "rosbags", "zstandard"),
    "lerobot": ("av", "pyarrow"),
    "sim": ("mujoco", "matplotlib"),
    "distributed": ("distributed",),
    "serve": ("msgpack", "prometheus_client", "websockets"),
}
"""Modules by extra, as setup.py names them."""


def missing(error: ModuleNotFoundError) -> str:
    """What to do about a module that is not there, one sentence."""
    name = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if name in modules:
            return f"this needs the Python package {name!r}: pip install '{PACKAGE}[{extra}]'"
    return (
        f"this needs the Python package {printable(error.name)!r}: pip install "
        f"--force-reinstall {PACKAGE}"
    )
