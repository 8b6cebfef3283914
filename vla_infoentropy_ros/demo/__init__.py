# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a simulated arm driven over a real DDS graph, dense against reused KV cache."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """``python -m vla_infoentropy_ros demo``."""
    from vla_infoentropy_ros.demo.cli import main as run

    return run(argv)
