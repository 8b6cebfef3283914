# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: thin, no policy mathematics and no torch.

Importing it raises RequirementError where rclpy, or the middleware that is asked for, is missing:
the library itself ends the process for a wrong RMW_IMPLEMENTATION.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from vla_infoentropy_ros.engine.requirements import RequirementError


def check_middleware(environment: Mapping[str, str] = os.environ) -> None:
    """Raise RequirementError where RMW_IMPLEMENTATION names what is not installed."""
    name = environment.get("RMW_IMPLEMENTATION", "")
    prefixes = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    folders = [Path(sys.prefix, "lib"), *(Path(prefix, "lib") for prefix in prefixes if prefix)]
    folders += map(Path, filter(None, environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    if name and not any((folder / f"lib{name}.so").is_file() for folder in folders):
        raise RequirementError(
            f"RMW_IMPLEMENTATION={name!r} is not installed: unset it for the default middleware, "
            f"or install it (ros-$ROS_DISTRO-{name.replace('_', '-')})"
        )


if find_spec("rclpy") is None:
    raise RequirementError(
        "there is no rclpy for this Python: run `make demo` once, which sets up .venv, and use "
        ".venv/bin/python, or source the setup file of a ROS 2 installation for this Python"
    )
check_middleware()
