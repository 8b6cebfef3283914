# SPDX-License-Identifier: Apache-2.0
"""These tests look inside the standalone rclpy; with ROS 2 sourced there is nothing to test."""

from __future__ import annotations

import pytest

from vla_infoentropy_ros.standalone import ensure_rclpy

IMPLEMENTATION = ensure_rclpy()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the standalone implementation."""
    if IMPLEMENTATION == "standalone":
        return
    skip = pytest.mark.skip(reason="rclpy comes from ROS 2 here")
    for item in items:
        if "test/standalone/" in item.nodeid and "test_launch" not in item.nodeid:
            item.add_marker(skip)
