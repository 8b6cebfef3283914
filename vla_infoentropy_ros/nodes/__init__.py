# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: thin, no policy mathematics and no torch.

Importing this package makes `rclpy` importable, so that its modules may import it at their top.
"""

from vla_infoentropy_ros.standalone import ensure_rclpy

MIDDLEWARE = ensure_rclpy()
"""Whose rclpy the nodes run on: "rclpy" (a ROS installation's) or "standalone" (ours)."""
