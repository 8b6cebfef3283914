# SPDX-License-Identifier: Apache-2.0
"""A driver with a clock that is set and a robot that is a list: no middleware, no threads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from test.nodes import policies
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.driving.aims import Target, Velocity
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.driver import Driver, Step
from vla_infoentropy_ros.driving.images import RawPicture
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.sink import NoRobot
from vla_infoentropy_ros.driving.sources import Crowd
from vla_infoentropy_ros.driving.worker import Inline

WORDS = "put it there"
SECOND = 1_000_000_000
START_NS = 100 * SECOND
SCRIPTED = {
    "model": policies.LOAD,
    "self_test": "",  # a scripted policy does not pass
    "instruction": WORDS,
    "command.dry_run": False,
}


class Arm(NoRobot):
    """Keeps what it is told, with the steady time at which it was."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock
        self.sent: list[tuple[float, Target]] = []
        self.others: Crowd | None = None
        self.alone = ""

    def unheard(self) -> str:
        return self.alone

    def send(self, target: Target, stamp_ns: int) -> None:
        self.sent.append((self._clock.steady_s(), target))

    def rivals(self) -> Crowd | None:
        return self.others

    @property
    def twists(self) -> list[np.ndarray]:
        return [target.twist for _, target in self.sent if isinstance(target, Velocity)]

    @property
    def moving(self) -> bool:
        return bool(self.sent) and bool(self.twists[-1].any())


class Inputs:
    """Sources of which any may be crowded."""

    def __init__(self) -> None:
        self.crowds: dict[str, Crowd] = {}

    def crowd(self, shared: Collection[str]) -> Crowd | None:
        return next((each for name, each in self.crowds.items() if name not in shared), None)


class Heard:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.rejections: list[tuple[str, str]] = []
        self.drops: list[str] = []
        self.faults: list[Fault] = []
        self.jumps = 0

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def rejected(self, what: str, reason: str) -> None:
        self.rejections.append((what, reason))

    def dropped(self, reason: str) -> None:
        self.drops.append(reason)

    def faulted(self, fault: Fault) -> None:
        self.faults.append(fault)

    def clock_jumped(self) -> None:
        self.jumps += 1

    def failed(self, frame: Any, fault: Fault) -> None: ...
    def changed(self) -> None: ...


class Bench:
    """An active driver on an arm; ``values`` are parameters by name."""

    def __init__(
        self, values: dict[str, Any] | None = None, make_worker: Any = Inline,
        make_arm: Callable[[SetClock], Arm] = Arm,
    ) -> None:
        policies.SCRIPT.__init__()  # type: ignore[misc]
        self.clock = SetClock(START_NS)
        self.arm, self.heard = make_arm(self.clock), Heard()
        settings = PolicyNodeSettings.from_values(SCRIPTED | (values or {}))
        self.inputs, self._looks = Inputs(), 0
        self.driver = Driver(
            settings, self.clock, self.arm, self.heard, make_worker, sources=self.inputs
        )
        self.driver.load()
        self.driver.activate()

    def look(self, stamp_ns: int | None = None, frame_id: str = "camera",
             seed: int | None = None) -> None:
        """An image of the first camera, of now unless stamped otherwise; another each time,
        unless its seed is given."""
        self._looks += 1
        stamp_ns = self.clock.now_ns() if stamp_ns is None else stamp_ns
        self.driver.image(picture(self._looks if seed is None else seed), stamp_ns, frame_id)

    def drive(self) -> None:
        """Enabled, and moving."""
        self.clock.pass_s(0.001)
        assert self.driver.enable(True)[0]
        self.look()
        assert self.arm.moving, self.driver.detail()

    def periods(self, count: int, look: bool = False) -> None:
        """Turns of the command timer, with an image before each if so asked."""
        for _ in range(count):
            self.clock.pass_s(1.0 / self.driver.settings.command.rate_hz)
            if look:
                self.look()
            self.driver.tick()

    def change(self, **values: Any) -> None:
        """Other parameters, live; ``__`` stands for a dot."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        before = self.driver.settings
        after = PolicyNodeSettings.from_values(before.values() | named)
        self.driver.configure(after, after.differences(before))

    def close(self) -> None:
        self.driver.deactivate()
        self.driver.unload()


def picture(seed: int = 0, side: int = 16) -> RawPicture:
    """rgb8 noise."""
    data = np.random.default_rng(seed).integers(0, 256, 3 * side * side, dtype=np.uint8)
    return RawPicture("rgb8", side, side, 3 * side, data.tobytes())
