# SPDX-License-Identifier: Apache-2.0
"""What counts as a selector's choice, and which selectors are measured; how fast, no test asks."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from test.models.tiny_flow import tiny_flow_config
from vla_infoentropy_ros.bench import selection
from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan
from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
from vla_infoentropy_ros.selection import SELECTORS, Selection


class Prunes:
    """A selector that decides late."""

    name = schedule = ""
    reuses, prunes = False, True

    def needs(self, depth: int) -> Any: ...

    def select(self, given: Any) -> Selection:
        every = torch.arange(4)
        return Selection(TokenPlan((Stage(0, every),), Pruning(1, self.choose, True)), every)

    def choose(self, attention: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return attention.argsort()[:2]


def test_what_is_chosen_within_the_pass_is_a_part_of_the_choice(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_REPEATS", 3)
    timed = selection._Timed(Prunes())
    pruning = timed.select(SimpleNamespace()).plan.pruning
    assert pruning is not None and (pruning.layer, pruning.last_row) == (1, True)
    assert pruning.choose(torch.tensor([3.0, 1.0, 2.0, 0.0])).tolist() == [3, 1]
    assert len(timed.spent_s) == 1 and timed.spent_s[0] >= 0.02
    assert timed.alone_s() >= 0.02 and len(timed.spent_s) == 4


def test_selectors_that_do_not_fit_are_left_out_before_any_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def choice(policy: Any, name: str, episodes: Any) -> dict[str, float]:
        measured.append(name)
        return dict.fromkeys(("alone_ms", "choice_ms", "share", "stage_ms", "dense_ms"), 1.0)

    monkeypatch.setattr(selection, "load_asked", lambda _: EmbeddedFlowPolicy(tiny_flow_config()))
    monkeypatch.setattr(selection, "solved_episode", lambda seed: ("", []))
    monkeypatch.setattr(selection, "_choice", choice)
    monkeypatch.setattr(selection, "_probe", lambda *_: {
        "added_ms": 1.0, "share": 1.0, "dense_ms": 1.0})
    assert selection.main([]) == 0
    assert [name for name in SELECTORS if name not in measured] == ["vla_pruner", "fastv"]
    told = capsys.readouterr().err
    assert "vla_pruner is left out: selector='vla_pruner' hides tokens" in told
    assert "fastv is left out" in told
