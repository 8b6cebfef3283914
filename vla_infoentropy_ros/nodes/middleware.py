# SPDX-License-Identifier: Apache-2.0
"""Which middleware carries the messages, and how it is told to carry large images."""

from __future__ import annotations

import os

import rclpy

from vla_infoentropy_ros.share import share_directory

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


def rmw_name() -> str:
    """Such as ``rmw_fastrtps_cpp``."""
    return str(rclpy.get_rmw_implementation_identifier())


def local_environment() -> dict[str, str]:
    """For processes that shall meet on this host alone, with images through shared memory.

    A profile that is named already stays in force.
    """
    profile = os.environ.get(PROFILES) or str(share_directory() / "config" / "fastdds.xml")
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", PROFILES: profile}
