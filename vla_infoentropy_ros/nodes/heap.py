# SPDX-License-Identifier: Apache-2.0
"""Memory that is kept, so that taking a large message does not hold the interpreter for its pages.

rclpy takes a message of 16 MB in three copies, with the interpreter held. Of the 36 ms that this
took 28 were the kernel's: malloc had given the pages back after the last one, and each had to be
made anew. So it keeps them, and has them from the start.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, as malloc.h of glibc numbers them
_KEPT = 128 << 20
_FROM_HEAP = 32 << 20  # the largest that glibc takes
_COPY, _COPIES = 17 << 20, 3


def keep_freed() -> bool:
    """Let malloc keep what is freed, up to 128 MB; false where it cannot be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # neither musl nor macOS has it
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _FROM_HEAP))


def make_room() -> None:
    """Have the pages for one large message; to be called by the thread that takes messages, when
    whatever stays has been allocated."""
    copies = [b"\xff" * _COPY for _ in range(_COPIES)]
    del copies
