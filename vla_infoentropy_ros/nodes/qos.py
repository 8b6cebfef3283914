# SPDX-License-Identifier: Apache-2.0
"""Qualities of service, by what they are for; docs/ros.md lists which topic has which."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

NEWEST = QoSProfile(depth=1)
"""Commands and reliable images: only the newest counts."""
QUEUE = QoSProfile(depth=10)
"""Telemetry that a recorder should have without gaps."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""State that a late subscriber needs: instruction, result of an episode."""
STATUS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Latched too; deeper, so that a reset right after a step does not overwrite the step's status."""
CAMERA = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Images of any publisher, reliable or not."""
