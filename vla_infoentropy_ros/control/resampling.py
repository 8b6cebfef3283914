# SPDX-License-Identifier: Apache-2.0
"""From one command per policy step to a steady stream that expires by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.limits import approach
from vla_infoentropy_ros.control.settings import CommandSettings

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

    It speeds up within the acceleration limits; braking and a stop are immediate. A command lasts
    by the time in which the robot moves, which a simulator may tell; how fast it may speed up goes
    by steady time, in which commands are sent. Both monotonic, s.
    """

    def __init__(self) -> None:
        self._command: Command | None = None
        self._expiry_s = 0.0
        self._zeros = 0
        self._sent, self._sent_s = np.zeros(6), -math.inf

    def put(
        self, command: Command, now_s: float, hold_s: float,
        sent: NDArray[np.float64] | None = None,
    ) -> None:
        """A new command, to be repeated for ``hold_s`` seconds unless a newer one replaces it.

        sent: what may be left at once of the velocity that is being sent, (6,); None: all of it.
        """
        if not hold_s > 0.0:
            raise ValueError(f"hold_s={hold_s}: must be above 0 s")
        self._command, self._expiry_s = command, now_s + hold_s
        self._zeros = ZEROS_AFTER_STOP
        if sent is not None:
            self._sent = sent

    def tighten(
        self, twist: NDArray[np.float64], sent: NDArray[np.float64], expiry_s: float
    ) -> None:
        """Lower limits apply to the held command: its twist, what is being sent of it, both (6,),
        and when it expires at the latest."""
        if self._command is not None:
            self._command = replace(self._command, twist=twist)
            self._sent, self._expiry_s = sent, min(self._expiry_s, expiry_s)

    def stop(self) -> None:
        """Forget the command; what follows is zero, then silence, or silence if none was sent."""
        self._command, self._sent = None, np.zeros(6)

    def sample(self, now_s: float, steady_s: float, settings: CommandSettings) -> Command | None:
        """What to send now; None: nothing."""
        if self._command is not None and now_s < self._expiry_s:
            within_s = min(steady_s - self._sent_s, 1.0 / settings.rate_hz)
            self._sent = approach(self._command.twist, self._sent, within_s, settings).twist
            self._sent_s = steady_s
            return replace(self._command, twist=self._sent)
        self._command, self._sent = None, np.zeros(6)
        if self._zeros == 0:
            return None
        self._zeros -= 1
        return zero()

    @property
    def command(self) -> Command | None:
        """The command that is held (it may have expired since the last sample)."""
        return self._command

    @property
    def quiet(self) -> bool:
        """Nothing is left to be sent."""
        return self._command is None and self._zeros == 0

    @property
    def sent(self) -> NDArray[np.float64]:
        """(6,) m/s, rad/s that was sent last, on its way to `twist`; zero after a stop."""
        return self._sent

    @property
    def twist(self) -> NDArray[np.float64]:
        """(6,) m/s, rad/s of the held command, zero without one."""
        return np.zeros(6) if self._command is None else self._command.twist
