# SPDX-License-Identifier: Apache-2.0
"""The shipped node with a tape running: whether it stopped in time, without measuring time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import TwistStamped

from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.control.watchdog import CLOCK_JUMP_S
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.policy_node import PolicyNode


def command_of(message: TwistStamped) -> tuple[int, tuple[float, ...]]:
    """(stamp in ns, twist in m/s and rad/s)"""
    return to_ns(message.header.stamp), tuple(from_twist(message.twist).tolist())


class Entry(NamedTuple):
    """kind: tick | due | latched | sent. what: the cause, or (stamp in ns, twist)."""

    kind: str
    what: Any = None

    @property
    def motion(self) -> bool:
        return self.kind == "sent" and any(self.what[1])


class Tape:
    """What the node did, in the order of its lock: ticks of its command timer, commands that it
    gave to the middleware, and when it had to stop.

    A stop is due at the first turn of the node at whose beginning the cause is there. Whether it
    is, is judged here, not by the node: so a stop that comes a period late is seen. No time is
    measured, so a machine on which the turns themselves come late changes nothing.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._causes: set[str] = set()

    def add(self, kind: str, what: Any = None) -> None:
        self.entries.append(Entry(kind, what))

    def judge(self, causes: set[str]) -> None:
        """A turn of the node begins; these are the causes to stop."""
        for cause in causes - self._causes:
            self.add("due", cause)
        self._causes = causes

    @property
    def ticks(self) -> int:
        return sum(entry.kind == "tick" for entry in self.entries)

    def moved(self, since: int) -> bool:
        """Motion was commanded since then; an index of entries."""
        return any(entry.motion for entry in self.entries[since:])

    def stopped(self, cause: str, since: int) -> bool:
        """Zero was sent for a cause that came since then. Fails if it was not the next command
        that was sent, or later than one period of the command timer, or not the last word."""
        entries = self.entries[since:]
        # The node may see what came in the middle of its turn: latched without having been due.
        found = [
            n
            for n, (kind, what) in enumerate(entries)
            if kind in ("due", "latched") and what == cause
        ]
        if not found:
            return False
        begin = since + found[0]
        before = [entry for entry in self.entries[:begin] if entry.kind == "sent"]
        assert before and before[-1].motion, f"the robot stood still before {cause}"
        assert not self.moved(begin), f"motion was commanded after {cause}"
        kinds = [entry.kind for entry in self.entries[begin:]]
        zero = kinds.index("sent") if "sent" in kinds else len(kinds)
        assert kinds[:zero].count("tick") <= 1, f"zero came more than a period after {cause}"
        return zero < len(kinds)


class Watched(PolicyNode):
    """The shipped node, with a tape running."""

    def __init__(self, **options: Any) -> None:
        self.tape = Tape()
        self._newest_ns = 0
        super().__init__(**options)
        commander, latch = self.driver.commander, self.driver.commander.interlock.latch
        commander.issue = self._turn(commander.issue)  # type: ignore[method-assign]
        commander.failed = self._turn(commander.failed)  # type: ignore[method-assign]

        def latched(fault: Any) -> bool:
            new = latch(fault)
            if new:
                self.tape.add("latched", fault.code)
            return new

        commander.interlock.latch = latched  # type: ignore[method-assign]

    def create_publisher(self, kind: Any, topic: str, *rest: Any, **options: Any) -> Any:
        publisher = super().create_publisher(kind, topic, *rest, **options)
        if topic == "twist_command":
            publish = publisher.publish

            def recorded(message: Any) -> None:
                self.tape.add("sent", command_of(message))
                publish(message)

            publisher.publish = recorded
        return publisher

    def _turn(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def turn(*arguments: Any, **named: float) -> Any:
            with self.driver.commander.lock:
                causes = self._causes(method.__name__, arguments, named)
                self.tape.judge(causes)
                watchdog = self.driver.commander.watchdog
                begin, misses = len(self.tape.entries), watchdog.deadline_misses
                result = method(*arguments, **named)
                missed = watchdog.deadline_misses > misses
                if missed and faults.DEADLINE not in causes:  # it passed within this turn
                    self.tape.entries.insert(begin, Entry("due", faults.DEADLINE))
                return result

        return turn

    def _tick(self) -> None:
        with self.driver.commander.lock:
            self.tape.add("tick")
            self._turn(super()._tick)()

    def _on_instruction(self, text: str) -> None:
        self._turn(super()._on_instruction)(text)

    def _causes(self, turn: str, arguments: Any, named: dict[str, float]) -> set[str]:
        """What there is now that the robot must not move with."""
        settings, watchdog = self.driver.commander.settings, self.driver.commander.watchdog
        now_s, now_ns = time.monotonic(), self.driver.clock.now_ns()
        began_s = watchdog._waits_since_s
        age_s, values = 0.0, np.zeros(7)
        if turn == "issue":
            values, _, _, age_s = arguments
            age_s = max(age_s, *named.values())
        causes = {
            faults.CAMERA_SILENT: now_s - watchdog._arrival_s > settings.camera_timeout_s,
            faults.CAMERA_FROZEN: now_s - watchdog._fresh_s > settings.camera_timeout_s,
            faults.STALE_OBSERVATION: age_s > settings.max_observation_age_s,
            faults.DEADLINE: began_s is not None and now_s - began_s > settings.deadline_s,
            faults.CLOCK_BACKWARDS: now_ns < self._newest_ns - CLOCK_JUMP_S * 1e9,
            faults.WORKER_DIED: self.driver.active and not self.driver.runner.alive,
            faults.INVALID_ACTION: not np.isfinite(values).all(),
            faults.TWO_COMMANDERS: self.output.rivals() is not None,
            faults.TWO_SOURCES: self.sources.crowd(settings.shared) is not None,
            "instruction": turn == "_on_instruction",
        }
        self._newest_ns = now_ns
        failed = {arguments[0].code} if turn == "failed" else set()
        return failed | {cause for cause, here in causes.items() if here}
