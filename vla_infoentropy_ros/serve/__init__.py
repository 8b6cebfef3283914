# SPDX-License-Identifier: Apache-2.0
"""A policy as a server: two protocols that evaluators and robots already speak."""

from vla_infoentropy_ros.serve.cli import main

__all__ = ["main"]
