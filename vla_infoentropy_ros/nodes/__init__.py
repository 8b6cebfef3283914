# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: thin, no policy mathematics and no torch.

Importing it raises RequirementError where rclpy, or the middleware that is asked for, is missing,
or the domain is none: the library itself ends the process for a wrong RMW_IMPLEMENTATION, and for
a domain that DDS has no port for.
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from vla_infoentropy_ros.argument_types import LAST_DOMAIN
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


def check_domain(environment: Mapping[str, str] = os.environ) -> None:
    """Raise RequirementError where ROS_DOMAIN_ID is no domain."""
    text = environment.get("ROS_DOMAIN_ID", "")
    if text and not (text.isascii() and text.isdigit() and int(text) <= LAST_DOMAIN):
        raise RequirementError(
            f"ROS_DOMAIN_ID={text!r}: must be a whole number in 0 .. {LAST_DOMAIN}; unset, it is 0"
        )


def load_type_support(rclpy: Path, prefix: Path) -> list[Path]:
    """Load the libraries of messages that were built into a virtual environment beside a sourced
    ROS, whose own search by name would not find them; by name it finds what is loaded.

    rclpy: where it is; in ``prefix`` itself, the wheels look there. Returns what was loaded, and
    raises RequirementError where that cannot be.
    """
    if prefix in rclpy.parents:
        return []
    libraries = sorted((prefix / "lib").glob("lib*__rosidl_typesupport_*_c.so"))
    try:
        for library in libraries:
            ctypes.CDLL(str(library))
    except OSError as error:
        raise RequirementError(
            f"the messages in {prefix / 'lib'} were built for another ROS than the one in "
            f"{rclpy.parents[1]}: source that one, or rm .venv/.ready and run make again"
        ) from error
    return libraries


_rclpy = find_spec("rclpy")
if _rclpy is None:
    raise RequirementError(
        "there is no rclpy for this Python: run `make demo` once, which sets up .venv, and use "
        ".venv/bin/python, or source the setup file of a ROS 2 installation for this Python"
    )
check_middleware()
check_domain()
load_type_support(Path(str(_rclpy.origin)), Path(sys.prefix))
