# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a recording, in one sentence."""

from __future__ import annotations

from vla_infoentropy_ros.foreign.text import UserError


class BagError(UserError, ValueError):
    """A recording that cannot be read or replayed; the message says why and what to do."""


def moment(time_ns: int) -> str:
    """A time of recording as `ros2 bag info` and Foxglove show it: seconds since 1970."""
    return f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000 // 1_000_000:03d} s"


def counted(number: int, thing: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{number} {thing}{'s' * (number != 1)}"
