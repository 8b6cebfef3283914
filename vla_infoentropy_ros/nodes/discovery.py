# SPDX-License-Identifier: Apache-2.0
"""Who may find our nodes: this host alone, where nothing else is asked for."""

from __future__ import annotations

import os

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
# Each of them says how far to look; the last is what older distributions know.
_ASKED = (RANGE, "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY")


def stay_local() -> bool:
    """Before rclpy starts: look on this host only, unless the environment says how far to look.

    ROS 2 opens a node to the whole network, and whoever reaches it may move the arm. True where
    the default was taken.
    """
    if any(os.environ.get(name) for name in _ASKED):
        return False
    os.environ[RANGE] = "LOCALHOST"
    return True


def reach() -> str:
    """How far this process looks, in the words of its environment."""
    return ", ".join(f"{name}={os.environ[name]}" for name in _ASKED if os.environ.get(name))
