# SPDX-License-Identifier: Apache-2.0
"""An episode that cannot go on ends, and says why; how well the hand moves, no test asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_infoentropy_ros.bench import MeasuringError, pace


class Broken:
    """A driver that answers every picture by a fault, so that time stands still."""

    def __init__(self, settings: Any, clock: Any, robot: Any, audience: Any, *_: Any) -> None:
        self.audience, self.pictures = audience, 0

    def image(self, *_: Any) -> None:
        self.pictures += 1
        assert self.pictures < 10, "it goes on for ever"
        self.audience.faulted(SimpleNamespace(reason="the policy gave NaN"))

    def nothing(self, *_: Any) -> None: ...

    load = activate = enable = deactivate = nothing


def test_a_fault_ends_the_episode_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "Driver", Broken)
    table = SimpleNamespace(
        reset=lambda _: SimpleNamespace(instruction="put it there"), success=lambda: False,
        render=lambda: np.zeros((8, 8, 3), np.uint8), max_steps=5)
    policy = SimpleNamespace(convention=SimpleNamespace(control_period_s=0.2))
    with pytest.raises(MeasuringError, match=r"seed 7, 1.5 periods: .*: the policy gave NaN"):
        pace.episode(policy, table, 7, 1.5, {})
