# SPDX-License-Identifier: Apache-2.0
"""A camera that sends one picture again and again, under new stamps: stamps cannot tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control.faults import CAMERA_FROZEN, Fault
from vla_infoentropy_ros.control.settings import CommandSettings

_RADIAN_M = 0.1  # a turn moves what a hand holds, about so far from its axis


@dataclass
class _Repeat:
    """since_s: when its picture came first, steady time. way_m: commanded since."""

    since_s: float
    way_m: float = 0.0


class Repeats:
    """How far the hand was commanded while a camera's picture stayed the same to the last byte.

    A picture may stand still with a hand that does; a real sensor's hardly ever does at all. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._repeats: dict[str, _Repeat] = {}
        self._speed, self._sent_s = 0.0, 0.0

    def looked(self, new: Mapping[str, bool], now_s: float) -> None:
        """Pictures came; new: by camera, whether it is another than the one before."""
        for camera, differs in new.items():
            if differs or camera not in self._repeats:
                self._repeats[camera] = _Repeat(now_s)

    def commanded(self, twist: NDArray[np.float64], now_s: float) -> None:
        """A twist (6,), m/s and rad/s, is sent from now on; now_s: of the robot's motion."""
        for repeat in self._repeats.values():
            repeat.way_m += self._speed * (now_s - self._sent_s)
        self._sent_s = now_s
        self._speed = float(np.linalg.norm(twist[:3]) + _RADIAN_M * np.linalg.norm(twist[3:]))

    def stopped(self) -> None:
        """The hand stands; what it was commanded until now counts no more."""
        self._speed = 0.0
        for repeat in self._repeats.values():
            repeat.way_m = 0.0

    def fault(self, now_s: float, settings: CommandSettings) -> Fault | None:
        """The fault to latch where that is too far, for longer than a camera may be silent."""
        limit_m = settings.max_way_unseen
        found: Iterable[tuple[str, _Repeat]] = self._repeats.items() if limit_m else ()
        for camera, repeat in found:
            same_s = now_s - repeat.since_s
            if repeat.way_m > limit_m and same_s > settings.camera_timeout_s:
                return Fault(
                    CAMERA_FROZEN,
                    f"{camera} sends the same picture under new stamps for {same_s:.2f} s, while "
                    f"the hand was commanded {repeat.way_m:.2f} m (command.max_way_unseen="
                    f"{limit_m}); check the camera and its driver",
                )
        return None
