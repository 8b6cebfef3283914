# SPDX-License-Identifier: Apache-2.0
"""vla_pruner and fastv against their formulas on hand-made inputs."""

from __future__ import annotations

import pytest
import torch

from test.selection.helpers import N, attended, input_of
from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selection.vla_pruner import diverse, smoothed


def test_vla_pruner_smoothing_weighs_the_newest_most():
    newest, middle, oldest = torch.eye(3)
    weights = torch.tensor([0.8, 0.64, 0.512])
    assert torch.allclose(smoothed((newest, middle, oldest), 0.8), weights / weights.sum())
    assert torch.equal(smoothed((newest, middle), 0.0), newest)


def test_vla_pruner_filter_is_greedy_max_min():
    angles = torch.tensor([0.0, 0.1, 0.5, 1.5, 3.0, 2.0])
    unit = torch.stack((angles.cos(), angles.sin()), dim=1)
    candidates = torch.tensor([True, True, True, True, False, True])
    first = torch.tensor([0.1, 0.9, 0.2, 0.3, 0.8, 0.1])
    # starts at 1 (0.1 rad); farthest 5 (2.0), then 3 or 2: min(1.4, .5) < min(.4, 1.5)? 3: 0.5.
    for keep, expected in ((0, []), (3, [1, 3, 5]), (5, [0, 1, 2, 3, 5])):
        kept = diverse(unit[None], candidates[None], first[None], keep)
        assert kept.shape == (1, 6) and kept[0].nonzero().squeeze(-1).tolist() == expected


@pytest.mark.parametrize("views", [1, 2])
def test_vla_pruner_combines_both_levels_and_then_filters(views):
    """Four of eight candidates in four directions; the words alone would keep 1 to 4, the
    actions alone 5 to 8, and the ranks without the directions no 8. A second view, the same but
    hardly looked at, keeps the same."""
    direction = torch.zeros(N, dtype=torch.int64)  # of whoever is no candidate: farthest of all
    direction[1:9] = torch.tensor([1, 1, 2, 2, 1, 3, 3, 4])
    embeddings = torch.eye(5)[direction]
    embeddings[direction == 0, 1:] = -1.0
    semantic, acted = torch.zeros(2, N)
    semantic[1:5] = torch.tensor([0.9, 0.8, 0.7, 0.6])
    acted[5:9] = torch.tensor([0.7, 0.6, 0.9, 0.5])
    lit = torch.tensor([1.0, 0.1])[:views, None]
    total = views * N
    attention = Attention((2, 3), torch.zeros(2, 3, total),
                          (lit * acted).flatten().expand(2, 6, total))
    settings = SelectionSettings(prune_ratio=0.75, prune_window=1)
    selection = build_selector("vla_pruner", settings=settings).select(input_of(
        patches=torch.zeros(views, N, 4, 3, dtype=torch.uint8), attention=attention,
        embeddings=embeddings.repeat(views, 1)))
    kept = selection.plan.pruning.choose((lit * semantic).flatten())
    assert kept.tolist() == [1, 3, 6, 8, 17, 19, 22, 24][: 4 * views]


def test_vla_pruner_reads_the_latter_half_of_the_layers():
    assert build_selector("vla_pruner").needs(8).resolve(8) == (4, 5, 6, 7)


def test_vla_pruner_as_released_reads_one_layer_and_the_seven_rows_that_predict():
    """Layer 15 of 32, mean over heads and the rows behind the prompt's last and six tokens."""
    single = build_selector("vla_pruner", settings=SelectionSettings(prune_action_layers="single"))
    assert single.needs(32).resolve(32) == (15,) and single.needs(4).resolve(4) == (2,)
    attention = attended({}, {5: 0.2})
    attention.text[:, -1, 5] = 0.9  # the last row of the prompt predicts the first token
    attention.text[:, 0, 9] = 0.9  # another row of the prompt
    seen = {}
    for rows in ("fed_back", "predicting"):
        settings = SelectionSettings(prune_window=1, prune_action_rows=rows)
        selection = build_selector("vla_pruner", settings=settings).select(
            input_of(attention=attention))
        seen[rows] = selection.signals["attention_mass"]
        assert selection.signals["attention_mass"][9].item() == pytest.approx(1e-3)
    assert seen["fed_back"][5].item() == pytest.approx(0.2)
    assert seen["predicting"][5].item() == pytest.approx((0.9 + 6 * 0.2) / 7)


def test_vla_pruner_warms_up_then_keeps_exactly_m():
    settings = SelectionSettings(prune_ratio=0.75, prune_window=3)
    selector = build_selector("vla_pruner", settings=settings)
    state = None
    for step in range(3):
        selection = selector.select(input_of(
            t=step, state=state, attention=None if step == 0 else attended({}, {5: 0.1})))
        assert selection.plan.pruning is None
        state = selection.state
    selection = selector.select(input_of(state=state, attention=attended({}, {5: 0.2, 6: 0.3}),
                                         embeddings=torch.eye(N)))
    assert selection.plan.pruning.layer == 1  # 3 of 32, in 4 layers
    semantic = torch.zeros(N)
    semantic[[2, 3]] = torch.tensor([0.5, 0.4])
    assert selection.plan.pruning.choose(semantic).shape == (4,)


def test_vla_pruner_remembers_the_score_of_tokens_it_pruned():
    selector = build_selector("vla_pruner", settings=SelectionSettings(prune_window=1))
    seen = selector.select(input_of(attention=attended({}, {7: 0.4})))
    blind = attended({})
    blind.action[:, :, 7] = 0.0  # pruned in the step before
    later = selector.select(input_of(attention=blind, state=seen.state))
    assert later.signals["attention_mass"][7].item() == pytest.approx(0.4)


def test_fastv_keeps_the_most_attended():
    selection = build_selector("fastv", settings=SelectionSettings(prune_ratio=0.75)).select(
        input_of(attention=None))
    scores = torch.zeros(N)
    scores[[3, 9, 10, 11]] = 1.0
    assert selection.plan.pruning.choose(scores).tolist() == [3, 9, 10, 11]


@pytest.mark.parametrize("rows", ["all", "last"])
def test_fastv_asks_all_rows_or_the_last(rows):
    selector = build_selector("fastv", settings=SelectionSettings(fastv_rows=rows))
    assert selector.select(input_of()).plan.pruning.last_row == (rows == "last")


def test_fastv_keeps_its_share_of_each_view():
    views = torch.zeros(2, N, 4, 3, dtype=torch.uint8)
    selection = build_selector("fastv", settings=SelectionSettings(prune_ratio=0.75)).select(
        input_of(attention=None, patches=views, embeddings=torch.ones(2 * N, 3)))
    scores = torch.linspace(1.0, 2.0, 2 * N)  # the second view is the more attended throughout
    assert selection.plan.pruning.choose(scores).tolist() == [12, 13, 14, 15, 28, 29, 30, 31]
