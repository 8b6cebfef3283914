# SPDX-License-Identifier: Apache-2.0
"""Which images may be used, and when the robot must stop for want of them."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.control.faults import (
    CAMERA_FROZEN,
    CAMERA_SILENT,
    DEADLINE,
    STALE_OBSERVATION,
    Fault,
)
from vla_infoentropy_ros.control.settings import CommandSettings

CLOCK_JUMP_S = 0.1
"""ROS time may step back this much (clock adjustment) before it counts as a jump."""


@dataclass(frozen=True)
class Verdict:
    """usable, or why not. counted_as: "" | "dropped" | "rejected" for the counters."""

    usable: bool
    reason: str = ""
    counted_as: str = ""


_USABLE = Verdict(True)


def ahead_of_clock(stamp_ns: int, now_ns: int, skew_s: float) -> str:
    """What is wrong with a stamp of the future; "" if it is none."""
    ahead_s = (stamp_ns - now_ns) / 1e9
    if ahead_s <= skew_s:
        return ""
    return (
        f"its stamp is {ahead_s:.3f} s ahead of this node's clock (command.max_clock_skew_s="
        f"{skew_s}): synchronise the clocks, or check use_sim_time and that /clock is published"
    )


class StampGuard:
    """Lets images through whose stamps are new, in order and believable. Not thread-safe."""

    def __init__(self) -> None:
        self.newest_ns: int | None = None
        self._now_ns = 0

    def reset(self) -> None:
        """Accept any stamp next."""
        self.newest_ns = None

    def clock_jumped(self, now_ns: int) -> bool:
        """Tell the guard the ROS time; true if it jumped backwards since the last call."""
        jumped = now_ns < self._now_ns - int(CLOCK_JUMP_S * 1e9)
        self._now_ns = now_ns if jumped else max(now_ns, self._now_ns)
        return jumped

    def check(self, stamp_ns: int, now_ns: int, skew_s: float) -> Verdict:
        """Judge the stamp of an image that arrived at ROS time ``now_ns``."""
        if stamp_ns <= 0:
            return Verdict(
                False, "its stamp is zero: the camera driver must stamp images", "rejected"
            )
        if ahead := ahead_of_clock(stamp_ns, now_ns, skew_s):
            return Verdict(False, ahead, "rejected")
        if self.newest_ns is not None and stamp_ns <= self.newest_ns:
            same = stamp_ns == self.newest_ns
            late_s = (self.newest_ns - stamp_ns) / 1e9
            why = "same stamp as the last" if same else f"out of order by {late_s:.3f} s"
            return Verdict(False, why, "dropped")
        self.newest_ns = stamp_ns
        return _USABLE


class Watchdog:
    """Watches camera and inference while the robot is being commanded. Not thread-safe.

    Times are seconds of a monotonic clock, so that a simulator that dies with its /clock is seen.
    It is armed by the first command and disarmed by every stop: waiting is no fault.
    """

    def __init__(self) -> None:
        self._armed = False
        self._fresh_s = 0.0
        self._arrival_s = 0.0
        self._decoded_s = 0.0
        self._lacks: Fault | None = None
        self._doubtful = False  # the newest image to be decoded could not be
        self._waits_since_s: float | None = None  # for the step in progress, or its next miss
        self._late = False  # the step in progress has missed its deadline already
        self._misses = 0  # in a row
        self.deadline_misses = 0  # in all

    @property
    def armed(self) -> bool:
        return self._armed

    @property
    def stepping(self) -> bool:
        """A policy step is in progress."""
        return self._waits_since_s is not None

    def arm(self) -> None:
        self._armed = True

    def disarm(self) -> None:
        self._armed = False

    def forgive(self) -> None:
        """Misses until now are no row any more: the operator lets the robot move anew."""
        self._misses = 0

    def image(self, now_s: float, usable: bool, lacks: Fault | None = None) -> None:
        """An image arrived; usable: as far as can be seen without decoding it. lacks: what else is
        needed to act on it, and is not there."""
        self._arrival_s, self._lacks = now_s, lacks
        if usable and not self._doubtful:
            self._fresh_s = now_s

    def decoded(self, arrival_s: float, ok: bool) -> None:
        """The image that arrived at ``arrival_s`` was decoded, or could not be.

        After one that could not, only decoded images count: a camera whose pictures are garbage
        is as blind as one that sends none.
        """
        self._doubtful = not ok
        if ok:
            self._decoded_s = arrival_s
        self._fresh_s = max(self._fresh_s, arrival_s) if ok else self._decoded_s

    def step_begins(self, arrival_s: float) -> None:
        """A policy step begins, on an image that arrived at ``arrival_s``."""
        self._waits_since_s, self._late = arrival_s, False

    def step_dropped(self) -> None:
        """The step in progress, if there is one, will not end."""
        self._waits_since_s, self._late = None, False

    def step_ends(self, now_s: float, settings: CommandSettings) -> bool:
        """The step ended; whether in time."""
        self.overdue(now_s, settings)
        in_time = self._waits_since_s is not None and not self._late
        self.step_dropped()
        if in_time:
            self._misses = 0
        return in_time

    def overdue(self, now_s: float, settings: CommandSettings) -> bool:
        """The step in progress has just missed its deadline; true once, and again after as long
        while misses are tolerated: a step that never ends must come to a fault too."""
        if self._waits_since_s is None or now_s - self._waits_since_s <= settings.deadline_s:
            return False
        if self._late and self._misses > settings.tolerated_misses:
            return False
        self._waits_since_s, self._late = now_s, True
        self._misses += 1
        self.deadline_misses += 1
        return True

    def deadline_fault(self, settings: CommandSettings) -> Fault | None:
        """The fault to latch after a miss, unless misses in a row are still tolerated."""
        if self._misses <= settings.tolerated_misses:
            return None
        return Fault(
            DEADLINE,
            f"command.deadline_s={settings.deadline_s} was missed {self._misses} time(s) in a row; "
            "raise it, reuse more tokens or use a faster device",
        )

    def camera_fault(self, now_s: float, settings: CommandSettings) -> Fault | None:
        """The fault to latch if there was no image to act on for too long."""
        silent_s = now_s - self._fresh_s
        if not self._armed or silent_s <= settings.camera_timeout_s:
            return None
        limit = f"command.camera_timeout_s={settings.camera_timeout_s}"
        if now_s - self._arrival_s > settings.camera_timeout_s:
            return Fault(
                CAMERA_SILENT, f"no image for {silent_s:.2f} s ({limit}); check the camera"
            )
        return self._lacks or Fault(
            CAMERA_FROZEN,
            f"images arrive, but none that can be used for {silent_s:.2f} s ({limit}): they are "
            "rejected, or their stamps repeat or run backwards; see the log",
        )


def observation_fault(age_s: float, renewed_s: float, settings: CommandSettings) -> Fault | None:
    """The fault to latch for an action that is based on what was seen too long ago. age_s: of the
    oldest image. renewed_s: of the newest image of which the policy saw anything new."""
    limit = f"command.max_observation_age_s={settings.max_observation_age_s}"
    if age_s > settings.max_observation_age_s:
        return Fault(
            STALE_OBSERVATION,
            f"the image was {age_s:.3f} s old when its action was ready ({limit}); check the "
            "camera's delay and the clocks",
        )
    if renewed_s > settings.max_observation_age_s:
        return Fault(
            STALE_OBSERVATION,
            "the selector recomputes no visual token, so the action is based on what was seen "
            f"earlier than allowed ({limit}); choose another selector, or settings of selection.* "
            "by which it recomputes some",
        )
    return None
