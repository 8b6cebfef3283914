# SPDX-License-Identifier: Apache-2.0
"""What the report says of a run is all that decided it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.demo import cli
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.session import Session

NAMES = {each.name for each in fields(SelectionSettings)}


class Told(SelectionSettings):
    """Remembers which settings were looked at."""

    def __getattribute__(self, name: str) -> object:
        if name in NAMES and (read := type(self).__dict__.get("read")) is not None:
            read.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("changed", [
    {}, {"form": "half_drift"}, {"staleness": "drift"}, {"attention_mode": "temperature"},
    {"age_limit": 3},
])
@pytest.mark.parametrize("schedule", ["constant", "adaptive"])
@pytest.mark.parametrize("name", sorted(cli._READ_BY))
def test_all_settings_that_a_selector_reads_are_told(
    name: str, schedule: str, changed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Told(fresh_tokens=4, k1=2, k2=4), **changed)  # type: ignore[arg-type]
    read: set[str] = set()
    monkeypatch.setattr(Told, "read", read, raising=False)
    session = Session(TinyPolicy(), build_selector(name, schedule, settings))
    session.set_instruction("red")
    picture = np.zeros((64, 64, 3), np.uint8)
    for step in range(4):
        session.step([picture + np.uint8(step)])
    told = cli._read_by(name, dict.fromkeys([*NAMES, "schedule"], 0))
    assert read <= set(told) and (read or name == "dense")
