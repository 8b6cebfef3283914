# SPDX-License-Identifier: Apache-2.0
"""Bags: write one from raw messages, step a policy through one without ROS."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """``python -m vla_infoentropy_ros replay``; torch is loaded only when it runs."""
    from vla_infoentropy_ros.replay.cli import main as run

    return run(argv)
