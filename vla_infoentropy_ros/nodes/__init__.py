# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: thin, no policy mathematics and no torch."""

from importlib.util import find_spec

from vla_infoentropy_ros.engine.requirements import RequirementError

if find_spec("rclpy") is None:
    raise RequirementError(
        "there is no rclpy for this Python: run `make demo` once, which sets up .venv, and use "
        ".venv/bin/python, or source the setup file of a ROS 2 installation for this Python"
    )
