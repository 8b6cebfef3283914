# SPDX-License-Identifier: Apache-2.0
"""What any selector that reuses may be told on top: age limit, keyframes, top-up."""

from __future__ import annotations

import torch

from test.selection.helpers import N, chosen, input_of
from vla_infoentropy_ros.selection import SelectionSettings, build_selector, reasons


def test_age_limit_recomputes_the_old():
    ages = torch.arange(N)
    selector = build_selector("stale", settings=SelectionSettings(age_limit=14))
    selection = selector.select(input_of(ages=ages))
    assert selection.plan.fresh.tolist() == [13, 14, 15]
    assert set(selection.reasons[13:].tolist()) == {reasons.AGE}


def test_age_never_passes_the_limit():
    selector = build_selector("stale", settings=SelectionSettings(age_limit=4))
    ages, oldest = torch.zeros(N, dtype=torch.int64), 0
    for _ in range(12):
        ages = ages + 1
        ages[selector.select(input_of(ages=ages - 1)).plan.fresh] = 0
        oldest = max(oldest, int(ages.max()))
    assert oldest == 3  # the keys a step reads are never 4 steps old


def test_keyframes_recompute_everything():
    selector = build_selector("stale", settings=SelectionSettings(keyframe_every=5))
    counts = [len(chosen(selector, input_of(t=t))) for t in range(1, 11)]
    assert counts == [0, 0, 0, 0, N, 0, 0, 0, 0, N]


def test_top_up_fills_by_drift_and_leaves_larger_plans_alone():
    embeddings = torch.ones(N, 3)
    embeddings[[4, 8, 12], 0] += torch.tensor([3.0, 1.0, 2.0])
    given = input_of(embeddings=embeddings)
    filled = build_selector("stale", settings=SelectionSettings(top_up_to=2)).select(given)
    assert filled.plan.fresh.tolist() == [4, 12]
    assert filled.reasons[[4, 12]].tolist() == [reasons.TOP_UP] * 2
    settings = SelectionSettings(top_up_to=2, fresh_tokens=3)
    assert chosen(build_selector("attention_drift", settings=settings), given) == [4, 8, 12]


def test_top_up_keeps_stages_nested():
    settings = SelectionSettings(top_up_to=6, k1=1, k2=1, static_cap=16, age_limit=3)
    selection = build_selector("info_entropy", settings=settings).select(input_of())
    assert len(selection.plan.fresh) == 6
