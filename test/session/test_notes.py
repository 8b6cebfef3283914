# SPDX-License-Identifier: Apache-2.0
"""What is said of settings that have no effect on a policy, or of pictures that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from test.models.tiny_flow import tiny_flow_policy
from test.session.test_flow import INSTRUCTION, pictures
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.session import SelectionReport, Session, SessionOptions, notes_on

USUAL = SelectionSettings()


def test_a_way_to_decode_that_has_nothing_to_do() -> None:
    window, few = SessionOptions(decode="window"), replace(USUAL, fresh_tokens=4)
    (note,) = notes_on(tiny_flow_policy(), "attention_drift", few, window)
    assert "has no action tokens" in note
    assert notes_on(tiny_flow_policy(), "attention_drift", few, SessionOptions()) == []
    assert notes_on(TinyPolicy(), "dense", USUAL, window) == []


def _stepped(
    policy: PolicyAdapter, selector: str, settings: SelectionSettings, frames: Sequence[np.ndarray]
) -> list[SelectionReport]:
    session = Session(policy, build_selector(selector, settings=settings))
    session.set_instruction(INSTRUCTION)
    return [session.step([frame]).report for frame in frames]


@pytest.mark.parametrize(("selector", "settings", "named"), [
    ("attention_drift", USUAL, "selection.fresh_tokens=64"),
    ("attention_drift", replace(USUAL, fresh_tokens=15), ""),
    ("random", USUAL, "selection.fresh_tokens=64"),
    ("info_entropy", replace(USUAL, form="half_drift"), "selection.fresh_tokens=64"),
    ("vla_cache", USUAL, "selection.cache_evicted=120"),
    ("vla_cache", replace(USUAL, cache_evicted=4), ""),
    ("dense", USUAL, ""),
])
def test_a_budget_of_every_token_is_told_where_nothing_is_reused_indeed(
    selector: str, settings: SelectionSettings, named: str
) -> None:
    """A policy of 16 tokens a view; budgets are those of policies of 256."""
    policy = tiny_flow_policy()
    notes = notes_on(policy, selector, settings, SessionOptions())
    assert [named in note and "16 visual tokens" in note for note in notes] == [True] * bool(named)
    reports = _stepped(policy, selector, settings, pictures(1) * 4)
    assert (max(report.reused for report in reports) == 0) == (bool(named) or selector == "dense")


NONE = replace(USUAL, fresh_tokens=0)


@pytest.mark.parametrize(("selector", "settings", "told"), [
    ("stale", USUAL, "selector=stale"),
    ("attention_drift", NONE, "selection.fresh_tokens=0 with selector=attention_drift"),
    ("random", NONE, "selection.fresh_tokens=0 with selector=random"),
    ("info_entropy", replace(NONE, form="half_drift"), "selection.fresh_tokens=0"),
    ("stale", replace(USUAL, keyframe_every=2), ""),
    ("attention_drift", replace(NONE, age_limit=3), ""),
    ("attention_drift", replace(USUAL, fresh_tokens=1), ""),
    ("info_entropy", NONE, ""),
    ("vla_cache", replace(USUAL, cache_evicted=0), ""),
    ("dense", NONE, ""),
])
def test_who_acts_on_the_first_picture_throughout_is_told_so(
    selector: str, settings: SelectionSettings, told: str
) -> None:
    policy = tiny_flow_policy()
    notes = [note for note in notes_on(policy, selector, settings, SessionOptions())
             if "first picture" in note]
    assert [note.startswith(told) for note in notes] == [True] * bool(told)
    first, *later = _stepped(policy, selector, settings, pictures(5))
    assert first.fresh > 0
    assert (max(report.fresh for report in later) == 0) == bool(told)
