# SPDX-License-Identifier: Apache-2.0
"""A policy slower than its control period: how it is noticed, what is done and said about it.

An action is the motion of one control period. Where the next one comes later, the robot must do
something meanwhile, and by no means can it be what the policy was trained with in every respect:
`CommandSettings.slow_policy` says which.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError

_JITTER = 1.05  # a camera's own must not count as slow
_REMEMBERED = 5


@dataclass(frozen=True)
class StepTimes:
    """As measured when the policy was loaded, ms; 0 where they were not. dense: with everything
    recomputed, as in the first step of an episode and in every refresh. reusing: of the others."""

    dense: float = 0.0
    reusing: float = 0.0

    def __str__(self) -> str:
        if not self.reusing:
            return "no self-test"
        return f"a step takes {self.reusing:.0f} ms, {self.dense:.0f} ms with all recomputed"


class Pace:
    """How far apart actions come, by the times at which their observations were made.

    That is ROS time: a simulation that stands still while the policy thinks is not slow, one that
    runs at half the speed of the wall's clock is half as slow as it looks. Not thread-safe.
    """

    def __init__(self) -> None:
        self._apart_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_ns: int | None = None

    def acted(self, observed_ns: int) -> None:
        """There is an action for an observation of this ROS time."""
        if self._last_ns is not None and observed_ns > self._last_ns:
            self._apart_s.append((observed_ns - self._last_ns) / 1e9)
        self._last_ns = observed_ns

    def pause(self) -> None:
        """What comes next does not follow on: a stop, another episode."""
        self._last_ns = None

    @property
    def apart_s(self) -> float:
        """Median of the last few, so that one refresh does not count; 0 before there are any."""
        return statistics.median(self._apart_s) if self._apart_s else 0.0

    def action_s(self, period_s: float, settings: CommandSettings) -> float:
        """Over which time the motion of one action is spread; period_s: that of its training."""
        if settings.slow_policy != "stretch" or settings.execute_actions > 1:
            return period_s
        return max(period_s, min(self.apart_s, settings.deadline_s))

    def told(self, period_s: float, settings: CommandSettings) -> str:
        """A sentence where the policy is slow, and what is done about it; else ""."""
        return _told(self.apart_s, period_s, settings)


def check_pace(
    times: StepTimes, period_s: float, max_rate_hz: float, settings: CommandSettings
) -> str:
    """What a person should know before the robot moves, a sentence or "".

    max_rate_hz: to which steps are held back, 0 for none. Raises SettingError where a slow policy
    is to be refused, and is one.
    """
    refuses = settings.slow_policy == "refuse"
    if not times.reusing:
        if refuses:
            raise SettingError(
                "command.slow_policy='refuse' measures a step when the policy is loaded, which "
                "self_test='' switches off: give self_test an instruction"
            )
        return ""
    apart_s = max(times.reusing / 1e3, 1.0 / max_rate_hz if max_rate_hz else 0.0)
    told = _told(apart_s, period_s, settings)
    if told and refuses:
        raise SettingError(
            f"{told}; use a faster device or selector, or set command.slow_policy to stretch or "
            "hold"
        )
    if not told and times.dense / 1e3 > period_s * settings.execute_actions * _JITTER:
        told = (
            f"a step that reuses nothing, the first of an episode and every refresh, takes "
            f"{times.dense:.0f} ms, longer than the control period of {period_s * 1e3:.0f} ms: the "
            "robot waits for it"
        )
    return "; ".join(filter(None, (told, _missed(times, settings))))


def _missed(times: StepTimes, settings: CommandSettings) -> str:
    """A sentence where steps as slow as these miss their deadline; else ""."""
    limit_ms = settings.deadline_s * 1e3
    if times.dense <= limit_ms:
        return ""
    which = ("every step" if times.reusing > limit_ms
             else f"a step that reuses nothing, {times.dense:.0f} ms,")
    return (
        f"{which} will miss command.deadline_s={settings.deadline_s:g}, and the robot stops for "
        f"it (command.tolerated_misses={settings.tolerated_misses}): use a faster device, or raise "
        "it"
    )


def _told(apart_s: float, period_s: float, settings: CommandSettings) -> str:
    wanted_s = period_s * settings.execute_actions
    if apart_s <= wanted_s * _JITTER:
        return ""
    slow = (
        f"actions come {apart_s * 1e3:.0f} ms apart, later than the {wanted_s * 1e3:.0f} ms for "
        f"which they are meant (command.slow_policy={settings.slow_policy})"
    )
    if settings.slow_policy == "stretch" and settings.execute_actions == 1:
        return f"{slow}: each is spread over that time, as long a way at a lower speed"
    further = min(settings.hold_periods, apart_s / period_s)
    return (
        f"{slow}: the last is held for {settings.hold_periods:g} control periods, up to "
        f"{further:.2g} times the way that it asks for, and then the robot stands"
    )
