# SPDX-License-Identifier: Apache-2.0
"""How many frames of a camera did not arrive, told from the stamps of those that did."""

from __future__ import annotations

from collections import deque
from statistics import median

_RECENT = 31  # periods that tell the camera's rate: a second at 30 Hz
_ENOUGH = 7  # of them, before a gap can be told from a period
_PAUSE = 32  # a gap of more periods is a camera that was off: nothing was lost


class Arrivals:
    """Counts the gaps between the stamps of one camera. Not thread-safe.

    Its own rate is the median of its recent periods; a gap of k of them is k - 1 frames that did
    not arrive. Stamps that shake by a fifth of a period deceive nobody; where more than
    half of the frames are lost, what is left looks like a slower camera.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._newest_ns: int | None = None
        self._periods_ns: deque[int] = deque(maxlen=_RECENT)

    def saw(self, stamp_ns: int) -> None:
        """A frame arrived, usable or not; its stamp in ns."""
        before_ns, self._newest_ns = self._newest_ns, stamp_ns
        if before_ns is None or stamp_ns <= before_ns:  # repeated, or begun anew
            return
        gap_ns = stamp_ns - before_ns
        if len(self._periods_ns) >= _ENOUGH:
            periods = round(gap_ns / median(self._periods_ns))
            if periods > _PAUSE:
                self._periods_ns.clear()
                return
            self.lost += max(0, periods - 1)
        self._periods_ns.append(gap_ns)
