# SPDX-License-Identifier: Apache-2.0
"""From one command per policy step to a steady stream that expires by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ZEROS_AFTER_STOP = 3
"""Zero commands sent before silence: one lost datagram must not leave an arm moving."""


@dataclass(frozen=True)
class Command:
    """twist: (6,) m/s, rad/s. gripper: opening 0..1, or None to leave the gripper alone.

    period_s: the control period over which the twist makes one action of the policy.
    """

    twist: NDArray[np.float64]
    gripper: float | None
    period_s: float = 0.0


def zero() -> Command:
    """No motion; the gripper keeps what it holds, since letting go is no safe state."""
    return Command(np.zeros(6), None)


class CommandHold:
    """Holds the newest command until it expires, then zero, then silence. Not thread-safe.

    Times are seconds of a monotonic clock: a hold must end even where ROS time stands still.
    """

    def __init__(self) -> None:
        self._command: Command | None = None
        self._expiry_s = 0.0
        self._zeros = 0

    def put(self, command: Command, now_s: float, hold_s: float) -> None:
        """A new command, to be repeated for ``hold_s`` seconds unless a newer one replaces it."""
        if not hold_s > 0.0:
            raise ValueError(f"hold_s={hold_s}: must be above 0 s")
        self._command, self._expiry_s = command, now_s + hold_s
        self._zeros = ZEROS_AFTER_STOP

    def stop(self) -> None:
        """Forget the command; what follows is zero, then silence, or silence if none was sent."""
        self._command = None

    def sample(self, now_s: float) -> Command | None:
        """What to send now; None: nothing."""
        if self._command is not None and now_s < self._expiry_s:
            return self._command
        self._command = None
        if self._zeros == 0:
            return None
        self._zeros -= 1
        return zero()

    @property
    def moving(self) -> bool:
        """A command is held (it may have expired since the last sample)."""
        return self._command is not None

    @property
    def quiet(self) -> bool:
        """Nothing is left to be sent."""
        return self._command is None and self._zeros == 0

    @property
    def twist(self) -> NDArray[np.float64]:
        """(6,) m/s, rad/s of the held command, zero without one."""
        return np.zeros(6) if self._command is None else self._command.twist
