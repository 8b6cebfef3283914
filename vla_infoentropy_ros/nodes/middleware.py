# SPDX-License-Identifier: Apache-2.0
"""Which middleware carries the messages, and how it is told to carry large images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import rclpy

from vla_infoentropy_ros.share import share_directory

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


def rmw_name() -> str:
    """Such as ``rmw_fastrtps_cpp``."""
    return str(rclpy.get_rmw_implementation_identifier())


def lost_frames_remedy(rmw: str, environment: Mapping[str, str] = os.environ) -> str:
    """What to do where frames of a camera do not arrive, by the middleware in use."""
    if "fastrtps" in rmw:
        if environment.get(PROFILES):
            return f"start the camera driver too with {PROFILES}={environment[PROFILES]}"
        return f"start both ends, the camera driver too, with {PROFILES}={_profile()}"
    if "cyclonedds" in rmw:
        return (
            "sysctl -w net.core.rmem_max=16777216, and in CYCLONEDDS_URI "
            '<Internal><SocketReceiveBufferSize min="8MB"/></Internal>'
        )
    return f"give {rmw} larger receive buffers, or set image_transport to compressed"


def _profile() -> Path:
    return share_directory() / "config" / "fastdds.xml"


def local_environment() -> dict[str, str]:
    """For processes that shall meet on this host alone, with images through shared memory.

    A profile that is named already stays in force.
    """
    profile = os.environ.get(PROFILES) or str(_profile())
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", PROFILES: profile}
