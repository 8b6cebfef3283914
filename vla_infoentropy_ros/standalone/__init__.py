# SPDX-License-Identifier: Apache-2.0
"""Run the nodes of this package on machines that have no ROS 2 installation.

:func:`ensure_rclpy` is the only entry point that other modules need. With ROS 2 sourced it does
nothing; without, it makes an ``rclpy`` importable that speaks to ROS 2 over Cyclone DDS.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SITE_DIRECTORY = Path(__file__).parent / "site"

__all__ = ["SITE_DIRECTORY", "ensure_cv_bridge", "ensure_rclpy"]


def ensure_rclpy() -> str:
    """Make ``import rclpy`` work and say whose it is.

    Returns ``"rclpy"`` when a ROS 2 installation provides it and ``"standalone"`` when ours does.
    Our folder goes to the end of ``sys.path``, so a sourced ROS 2 always wins.
    """
    if str(SITE_DIRECTORY) not in sys.path:
        if importlib.util.find_spec("rclpy") is not None:
            return "rclpy"
        _require_dependencies()
        sys.path.append(str(SITE_DIRECTORY))
        from .importer import install

        install()
    return "standalone" if _is_ours(importlib.import_module("rclpy")) else "rclpy"


def ensure_cv_bridge() -> ModuleType:
    """Return a working ``cv_bridge``: the installed one, or ours when that fails to import.

    The compiled part of the ROS package is built against one NumPy major version and cannot be
    imported beside another, which is common where a virtual environment sits on top of ROS 2.
    """
    try:
        return importlib.import_module("cv_bridge")
    except (ImportError, AttributeError):
        sys.modules.pop("cv_bridge", None)
    path = SITE_DIRECTORY / "cv_bridge" / "__init__.py"
    spec = importlib.util.spec_from_file_location("cv_bridge", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cv_bridge"] = module
    spec.loader.exec_module(module)
    return module


def _is_ours(module: ModuleType) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and SITE_DIRECTORY in Path(origin).parents


def _require_dependencies() -> None:
    """Fail early, with the remedy, instead of deep inside an import chain."""
    needed = {"cyclonedds": "cyclonedds==11.0.1", "rosbags": "rosbags>=0.11", "yaml": "PyYAML"}
    missing = [wheel for name, wheel in needed.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            "No ROS 2 installation was found and the standalone transport misses "
            f"{', '.join(missing)}. Source a ROS 2 setup file, or run: "
            f"pip install {' '.join(repr(item) for item in missing)}"
        )
