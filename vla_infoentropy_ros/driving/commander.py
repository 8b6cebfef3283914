# SPDX-License-Identifier: Apache-2.0
"""What the robot is told: interlocks, limits, hold with expiry, zero on every way of stopping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.control.chunks import Chunk, ChunkExecutor
from vla_infoentropy_ros.control.conventions import gripper_opening, step_to_twist
from vla_infoentropy_ros.control.faults import Fault, Interlock
from vla_infoentropy_ros.control.limits import limit_speed, limit_twist
from vla_infoentropy_ros.control.repeats import Repeats
from vla_infoentropy_ros.control.resampling import Command, CommandHold
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.control.watchdog import Watchdog, observation_fault
from vla_infoentropy_ros.driving.aims import TwistAim
from vla_infoentropy_ros.driving.clock import Clock, MotionTime
from vla_infoentropy_ros.driving.pace import Pace
from vla_infoentropy_ros.driving.sink import CommandSink
from vla_infoentropy_ros.driving.sources import Sources


@dataclass
class Counters:
    """Since the policy was loaded."""

    actions_issued: int = 0
    actions_dropped: int = 0


@dataclass(frozen=True)
class Issued:
    """What became of a chunk: what was commanded (zeros if nothing) and what limited it. row: of
    the chunk, that is meant for the time of the command; those before it came too late. Where the
    chunk waits, the command is another's for that time."""

    command: Command
    limited: tuple[str, ...]
    dry_run: bool
    row: int = 0


class Commander:
    """One per node; every method takes the one lock, so a stop is never overtaken by an action.

    ``generation`` counts episodes: a result of an older one is dropped, so that nothing decided
    before a stop, reset or new instruction moves the robot after it.
    """

    def __init__(
        self,
        clock: Clock,
        sink: CommandSink,
        settings: CommandSettings,
        on_fault: Callable[[Fault], None],
        sources: Sources,
    ) -> None:
        """on_fault: told of every fault that latches, after the zero command. sources: of what
        commands are decided on."""
        self.lock = threading.RLock()
        self._clock, self._sink, self._sources = clock, sink, sources
        self._motion = MotionTime(clock)
        self.aim: TwistAim | None = None
        self.settings = settings
        self.interlock = Interlock(settings.dry_run)
        self.watchdog, self._repeats = Watchdog(), Repeats()
        self.counters = Counters()
        self.generation = 0
        self.convention: Any = None
        self._on_fault = on_fault
        self._hold = CommandHold()
        self._chunks = ChunkExecutor()
        self._pace = Pace()
        self.belated = ""  # that the newest chunk came too late as a whole, one sentence
        self.belated_s = 0.0  # and when
        self._lead_s = 0.0  # from the newest image of which there is a chunk to that chunk

    def open(self, convention: Any, aim: TwistAim) -> None:
        """A policy is loaded; convention: `models.adapter.ActionConvention` of its actions."""
        with self.lock:
            self._sink.close()
            self.aim, self.convention = aim, convention
            self.counters, self.watchdog, self._repeats = Counters(), Watchdog(), Repeats()
            self._pace, self.belated = Pace(), ""
            self._ready()

    def begin(self) -> None:
        """Frames come from now on: not enabled, whatever was called before, and no step is in
        progress, even where one never came to its end."""
        with self.lock:
            self.enable(False)
            self.watchdog.step_dropped()

    def close(self) -> None:
        """The policy is gone: nothing may be commanded."""
        with self.lock:
            self.stop()
            self._sink.close()
            self.aim = self.convention = None

    def configure(self, settings: CommandSettings, wider: str) -> None:
        """Take over changed settings. wider: what the node is allowed now that it was not, a
        sentence's half; empty where nothing.

        Becoming a dry run stops the robot. So does whatever allows more than before: the enable
        was given for less. What allows less applies to what is being sent, at once.
        """
        with self.lock:
            self.settings = settings
            self.interlock.dry_run = settings.dry_run
            if settings.dry_run:
                self.drain()
            elif wider and self.interlock.enabled:
                self.stop()
                self.interlock.revoke(wider)
            self._ready()
            self._tighten()

    def _tighten(self) -> None:
        held, settings, aim = self._hold.command, self.settings, self.aim
        if held is None or aim is None:
            return
        if settings.output != "twist":  # the target is an action's end, not to be aimed at twice
            self.stop()
            return
        hold_s, now_s = held.period_s * settings.hold_periods, self._motion.now_s()
        twist, sent = (
            aim.inside_workspace(
                limit_speed(each, held.period_s, settings).twist, settings, hold_s, now_s
            )
            for each in (held.twist, self._hold.sent)
        )
        if isinstance(twist, Fault) or isinstance(sent, Fault):
            self.stop(twist if isinstance(twist, Fault) else None)
            return
        self._hold.tighten(twist, sent, now_s + hold_s)
        self._repeat(now_s, self._clock.now_ns())

    def _ready(self) -> None:
        if self.aim is None:
            return
        self.aim.set_frame(self.convention.frame, self.settings)
        if self.settings.dry_run:
            self._sink.close()
        else:
            self._sink.open(self.settings)

    def prepare(self) -> None:
        """Before `issue`, without the lock: see `TwistAim.prepare`."""
        aim = self.aim
        if aim is not None:
            aim.prepare(self.settings)

    def issue(
        self, chunk: NDArray[np.float64], generation: int, stamp_ns: int, age_s: float, *,
        oldest_s: float = 0.0, renewed_s: float = 0.0,
    ) -> Issued | None:
        """Turn a chunk of actions (H, 7) into commands; that of the action due now is sent.

        stamp_ns: ROS time now. age_s: of the first camera's image. oldest_s: of the oldest
        camera's. renewed_s: of the newest image of which the policy saw anything new. None: the
        chunk was dropped.
        """
        with self.lock:
            in_time = self.watchdog.step_ends(self._clock.steady_s(), self.settings)
            if generation != self.generation:
                self.counters.actions_dropped += 1
                return None
            fault = self._objection(chunk, in_time, max(age_s, oldest_s), renewed_s)
            if fault is not None or (not in_time and self.interlock.may_move):
                self.counters.actions_dropped += 1
                self.stop(fault)
                return None
            return self._begin(chunk, stamp_ns, age_s)

    def _begin(self, rows: NDArray[np.float64], stamp_ns: int, age_s: float) -> Issued | None:
        settings, now_s = self.settings, self._motion.now_s()
        self._lead_s = age_s
        self._pace.acted(stamp_ns - round(age_s * 1e9))
        chunk = Chunk(rows, now_s - age_s, self.convention.control_period_s)
        row = self._chunks.put(chunk, now_s, settings.execute_actions, settings.blend_chunks)
        self.belated = ""
        if row is None:
            self.counters.actions_dropped += 1
            self.stop()
            self.belated_s = self._clock.steady_s()
            self.belated = (
                f"its last chunk came after all of it was due: {len(rows)} actions of "
                f"{chunk.period_s * 1e3:.0f} ms from the image on; use a faster device or "
                "selector, or look for the camera's delay"
            )
            return None
        self.counters.actions_issued += 1
        if (values := self._chunks.due(now_s, settings.execute_actions)) is not None:
            return self._send(values, stamp_ns, row)
        held = self._hold.command  # of the chunk before, which goes on
        return self._nothing(row) if held is None else Issued(held, (), settings.dry_run, row)

    def wants_chunk(self, interval_s: float) -> bool:
        """Whether an image of now should be acted on; the next comes after ``interval_s``."""
        with self.lock:
            if self.settings.execute_actions == 1:
                return True
            lead_s = self._lead_s + interval_s
            return (not self.watchdog.stepping
                    and self._chunks.wants(self._motion.now_s(), lead_s))

    def _objection(
        self, chunk: NDArray[np.float64], in_time: bool, age_s: float, renewed_s: float
    ) -> Fault | None:
        if chunk.shape[1:] != (7,) or not np.isfinite(chunk).all():
            return Fault(
                faults.INVALID_ACTION,
                f"the policy gave {chunk.tolist()}; need 7 finite numbers an action",
            )
        if not self.interlock.may_move:
            return None
        if not in_time:
            return self.watchdog.deadline_fault(self.settings)
        return (
            observation_fault(age_s, renewed_s, self.settings)
            or self._repeats.fault(self._clock.steady_s(), self.settings)
            or self._crowd_fault()
        )

    def _send(self, values: NDArray[np.float64], stamp_ns: int, row: int = 0) -> Issued:
        settings, convention, aim = self.settings, self.convention, self.aim
        if aim is None or not self.interlock.may_move:
            return self._nothing(row)
        period_s = self._pace.action_s(convention.control_period_s, settings)
        hold_s = period_s * settings.hold_periods
        wanted = step_to_twist(values, period_s, convention.rotation)
        limited = limit_twist(wanted, self._hold.twist, period_s, settings)
        now_s = self._motion.now_s()
        inside = aim.inside_workspace(limited.twist, settings, hold_s, now_s)
        if isinstance(inside, Fault):
            return self._refuse(inside, row)
        # A wall is no matter of acceleration: what is being sent must not run into it either.
        sent = aim.inside_workspace(self._hold.sent, settings, hold_s, now_s)
        if isinstance(sent, Fault):
            return self._refuse(sent, row)
        if not np.isfinite(inside).all():
            return self._refuse(
                Fault(faults.INVALID_ACTION, f"the limits gave {inside.tolist()}"), row
            )
        cut = np.any(np.abs(inside - limited.twist) > 1e-9)
        opening = gripper_opening(values[6], convention.gripper)
        command = Command(inside, opening, period_s)
        fault = self._sink.fault() or aim.plan(command, settings, now_s)
        if fault is not None:
            return self._refuse(fault, row)
        self._hold.put(command, now_s, hold_s, sent)
        self.watchdog.arm()
        self._repeat(now_s, stamp_ns)
        self._sink.grip(opening, settings)
        return Issued(command, limited.by + ("workspace",) * bool(cut), settings.dry_run, row)

    def _refuse(self, fault: Fault, row: int) -> Issued:
        self.stop(fault)
        return self._nothing(row)

    def _nothing(self, row: int) -> Issued:
        return Issued(Command(np.zeros(6), 0.0), (), self.settings.dry_run, row)

    def tick(self, worker_alive: bool) -> None:
        """Repeat the command, or stop; at command rate."""
        with self.lock:
            self._watch(self._clock.steady_s(), worker_alive)
            now_s = self._motion.now_s()
            leap = self.aim.leap() if self.aim is not None and self.interlock.may_move else ""
            if leap and self._hold.command is not None:  # else somebody may have put it there
                self.stop(Fault(faults.STALE_STATE, leap))
            if now_s - self._chunks.observed_s > self.settings.max_observation_age_s:
                self._chunks.clear()
            action = self._chunks.due(now_s, self.settings.execute_actions)
            if action is not None and self.interlock.may_move:
                self._send(action, self._clock.now_ns())
            else:
                self._repeat(now_s, self._clock.now_ns())

    def _repeat(self, now_s: float, stamp_ns: int) -> bool:
        """Send what is to be sent now; false: nothing."""
        command = self._hold.sample(now_s, self._clock.steady_s(), self.settings)
        if command is None:
            return False
        self._repeats.commanded(command.twist, now_s)
        target = None if self.aim is None else self.aim.target(command, now_s)
        if target is not None:
            self._sink.send(target, stamp_ns)
        return True

    def _watch(self, now_s: float, worker_alive: bool) -> None:
        if not worker_alive:
            self.stop(
                Fault(
                    faults.WORKER_DIED,
                    "the inference thread has ended; deactivate and activate the node",
                )
            )
        if self.watchdog.overdue(now_s, self.settings) and self.interlock.may_move:
            self.stop(self.watchdog.deadline_fault(self.settings))
        fault = self.watchdog.camera_fault(now_s, self.settings)
        if fault is not None:
            self.stop(fault)
        if self.interlock.enabled and (fault := self._crowd_fault()):
            self.stop(fault)

    @property
    def moving(self) -> bool:
        """A command is being repeated."""
        with self.lock:
            return self._hold.command is not None

    def slow(self) -> str:
        """A sentence where actions come later than they are meant to; else ""."""
        with self.lock:
            if self.convention is None:
                return ""
            return self._pace.told(self.convention.control_period_s, self.settings)

    @property
    def apart_s(self) -> float:
        """How far apart actions come, s; 0 before there are two."""
        return self._pace.apart_s

    def stop(self, fault: Fault | None = None) -> None:
        """Zero at once, then silence; latches ``fault``. What is being computed is dropped."""
        with self.lock:
            self.generation += 1
            self.belated = ""
            self.watchdog.disarm()
            self._repeats.stopped()
            latched = fault is not None and self.interlock.latch(fault)
            was_sending = not self._hold.quiet
            self._chunks.clear()
            self._pace.pause()
            self._hold.stop()
            try:
                if was_sending:
                    self._repeat(self._motion.now_s(), self._clock.now_ns())
                self._sink.forget_grip()
            finally:  # a fault is told even where the zero could not be sent
                if fault is not None and latched:
                    self._on_fault(fault)

    def saw(self, arrival_s: float, usable: bool, lacks: Fault | None = None) -> None:
        """An image arrived; usable: as far as can be seen without decoding it. lacks: what else is
        needed to act on it, and is not there."""
        with self.lock:
            self.watchdog.image(arrival_s, usable, lacks)

    def step_begins(self, arrival_s: float) -> None:
        """A policy step begins, on an image that arrived then."""
        with self.lock:
            self.watchdog.step_begins(arrival_s)

    def looked(self, new: Mapping[str, bool]) -> None:
        """A policy step looks at pictures; new: by camera, whether it differs from the last."""
        with self.lock:
            self._repeats.looked(new, self._clock.steady_s())

    def decoded(self, arrival_s: float, ok: bool) -> None:
        """The image was decoded; or could not be, and the step ends without an action."""
        with self.lock:
            self.watchdog.decoded(arrival_s, ok)
            if not ok:
                self.watchdog.step_ends(self._clock.steady_s(), self.settings)

    def refused_change(self, reason: str) -> None:
        """A parameter could not be changed as asked."""
        with self.lock:
            if self.interlock.may_move:
                self.stop(Fault(faults.INVALID_PARAMETER, reason))

    def failed(self, fault: Fault) -> None:
        """The policy gave no action."""
        with self.lock:
            self.watchdog.step_ends(self._clock.steady_s(), self.settings)
            self.counters.actions_dropped += 1
            self.stop(fault)

    def clock_jumped(self) -> None:
        """ROS time went backwards: a fault if the robot is being commanded."""
        with self.lock:
            moving = self.watchdog.armed
            self.stop(
                Fault(
                    faults.CLOCK_BACKWARDS,
                    "ROS time jumped backwards while the robot was being commanded: a bag that "
                    "loops, or a simulation that was reset",
                )
                if moving
                else None
            )

    def _crowd_fault(self) -> Fault | None:
        """Two nodes must never drive one arm, nor one arm be driven by what two nodes say."""
        settings = self.settings
        if settings.exclusive and (crowd := self._sink.rivals()):
            return Fault(
                faults.TWO_COMMANDERS,
                f"{crowd}: stop all others, or set command.exclusive to false where sharing is "
                "intended",
            )
        if crowd := self._sources.crowd(settings.shared):
            return Fault(
                faults.TWO_SOURCES,
                f"{crowd}: stop all but one, or name the input in command.shared_inputs where "
                "sharing is intended",
            )
        return None

    def enable(self, on: bool) -> tuple[bool, str]:
        """The operator's interlock."""
        with self.lock:
            if on and (fault := self._crowd_fault() or self._sink.fault()):
                return False, f"refused: {fault.reason}"
            if on and not self.interlock.enabled and self.aim is not None:
                self.aim.forget()
            done, told = self.interlock.enable(on)
            if on:
                self._chunks.clear()  # decided while it could not move
                self.watchdog.forgive()
            else:
                self.stop()
            return done, "; ".join(filter(None, (told, self.unheard())))

    def unheard(self) -> str:
        """That it may move, and nobody would take its commands, one sentence; else ""."""
        return self._sink.unheard() if self.interlock.may_move else ""

    def clear_fault(self) -> str:
        """The operator has seen it; what is needed next."""
        with self.lock:
            return self.interlock.clear()

    def drain(self) -> None:
        """Send what is left to be sent (zeros), for a node that is about to go."""
        with self.lock:
            self.stop()
            while self._repeat(self._motion.now_s(), self._clock.now_ns()):
                pass
            self._sink.flush()
