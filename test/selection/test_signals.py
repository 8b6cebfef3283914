# SPDX-License-Identifier: Apache-2.0
"""Entropies, staleness, ranking and schedules against hand-made numbers."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection.attention_information import attention_information
from vla_infoentropy_ros.selection.image_entropy import image_entropy, patches_of
from vla_infoentropy_ros.selection.ranking import covering, top, turn
from vla_infoentropy_ros.selection.schedule import SCHEDULES, budgets, concentration
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.staleness import (
    block_means,
    drift,
    patch_cosine,
    relative_drift,
)


def grey(values: np.ndarray) -> torch.Tensor:
    """(H, W) grey levels to a (1, H, W, 3) picture; equal channels have that luma exactly."""
    return torch.from_numpy(np.repeat(values[..., None], 3, axis=-1).astype(np.uint8))[None]


def test_patches_come_in_raster_order():
    image = grey(np.arange(16).reshape(4, 4))
    assert patches_of(image, (2, 2))[0, :, :, 0].tolist() == [
        [0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="4x4 pixels does not divide into 3x2"):
        patches_of(grey(np.zeros((4, 4))), (3, 2))


def test_image_entropy_of_known_histograms():
    flat = np.full((2, 2), 77)
    halves = np.array([[10, 10], [200, 200]])  # 1 bit
    four = np.array([[0, 70], [140, 210]])  # 2 bits
    three = np.array([[9, 9], [90, 200]])  # 1.5 bits
    image = grey(np.block([[flat, halves], [four, three]]))
    entropy = image_entropy(patches_of(image, (2, 2)))
    assert torch.allclose(entropy, torch.tensor([[0.0, 1 / 8, 2 / 8, 1.5 / 8]]), atol=1e-6)
    # With 16 bins of 16 grey levels the maximum is 4 bits; 10 and 9 share bins with nobody else.
    coarse = image_entropy(patches_of(image, (2, 2)), levels=16)
    assert torch.allclose(coarse, torch.tensor([[0.0, 1 / 4, 2 / 4, 1.5 / 4]]), atol=1e-6)


def test_grey_is_bt601_luma():
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    pixels = np.stack([red, green, blue, np.full(3, 255)]).reshape(1, 2, 2, 3)
    # luma 76, 150, 29, 255: in 64 bins four different ones, in 2 x 128 levels two and two.
    entropy = image_entropy(patches_of(torch.from_numpy(pixels), (1, 1)))
    assert entropy.item() == pytest.approx(2 / 8)


@pytest.mark.parametrize("pixels", [64, 196, 256])
def test_the_same_counts_at_other_levels_are_the_same_entropy(pixels):
    draw = np.random.default_rng(0)
    same = 0
    for spread in (2.0, 8.0, 30.0):
        levels = np.clip(128 + spread * draw.standard_normal((64, pixels)), 0, 255).astype(int)
        elsewhere = np.stack([draw.permutation(256)[row] for row in levels])
        patches = torch.from_numpy(np.stack((levels, elsewhere)))[..., None].expand(-1, -1, -1, 3)
        here, there = image_entropy(patches)
        assert here.equal(there)
        same += int(here.unique().numel())
    assert same > 100  # and no two of these are equal for lack of digits
    assert image_entropy(torch.full((1, 1, pixels, 3), 9)).item() == 0


def test_attention_information_keeps_its_digits():
    """At the paper's scale (s about 1e-3) against 50-digit arithmetic."""
    getcontext().prec = 50
    scores = torch.tensor([[1e-3, 2e-3], [1e-3, 1e-3], [1e-3, 4e-3]], dtype=torch.float64)
    information = attention_information(scores.float()[:, None])[0].tolist()
    exact = []
    for column in scores.float().double().T.tolist():
        weights = [Decimal(value).exp() for value in column]
        q = [weight / sum(weights) for weight in weights]
        entropy = -sum(p * p.ln() for p in q)
        exact.append(float(1 - entropy / Decimal(3).ln()))
    assert information[0] == pytest.approx(0, abs=1e-15)
    assert information[1] == pytest.approx(exact[1], rel=1e-6)
    assert 1e-7 < exact[1] < 1e-5


def test_attention_information_modes():
    scores = torch.tensor([[3e-3, 1e-3, 1e-6, 2e-3], [1e-3, 1e-3, 0.0, 2e-3]])
    dim = torch.tensor([[3e-9], [1e-9]]) * torch.arange(1, 5)
    renorm, of_dim = attention_information(torch.stack((scores, dim), dim=1), "renorm")
    quarter = 1 - (-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))) / math.log(2)
    assert renorm.tolist() == pytest.approx([quarter, 0, 0, 0], abs=1e-7)  # third gated
    assert of_dim.tolist() == pytest.approx([0, quarter, quarter, quarter])  # by its own view
    scores = scores[:, None]
    tempered = attention_information(scores, "temperature", temperature=1e-3)
    q = 1 / (1 + math.exp(-2))
    entropy = -(q * math.log(q) + (1 - q) * math.log(1 - q))
    assert tempered[0, 0].item() == pytest.approx(1 - entropy / math.log(2), rel=1e-5)
    assert attention_information(scores[:1]).tolist() == [[0, 0, 0, 0]]  # one word: no choice
    with pytest.raises(ValueError, match="paper, renorm or temperature"):
        attention_information(scores, "other")


def test_patch_cosine():
    current = torch.tensor([[3, 4, 0], [0, 0, 0], [0, 0, 0], [8, 6, 0]], dtype=torch.uint8)
    before = torch.tensor([[4, 3, 0], [0, 0, 0], [9, 9, 0], [8, 6, 0]], dtype=torch.uint8)
    cosine = patch_cosine(current.view(1, 4, 1, 3), before.view(1, 4, 1, 3))
    assert cosine.tolist() == [pytest.approx([24 / 25, 1.0, 0.0, 1.0], abs=1e-6)]
    assert cosine[0, 1] == cosine[0, 3] == 1.0, "equal patches must tie"


@given(st.lists(st.integers(0, 255), min_size=75, max_size=75), st.integers(1, 6))
def test_equal_patches_have_exactly_cosine_one(values, block):
    patch = torch.tensor(values, dtype=torch.uint8).view(1, 1, 25, 3)
    assert patch_cosine(patch, patch, block).item() == 1.0


def test_block_means_by_hand():
    """5 x 5 pixels in blocks of 2: whole blocks, and what is left over at the far edges."""
    pixels = torch.arange(25.0).view(5, 5)
    patch = torch.stack((pixels, 2 * pixels, 0 * pixels), -1).view(1, 1, 25, 3)
    expected = torch.tensor([[3.0, 5.0, 6.5], [13.0, 15.0, 16.5], [20.5, 22.5, 24.0]]).flatten()
    means = block_means(patch, 2)
    assert means.shape == (1, 1, 9, 3)
    assert torch.allclose(means[0, 0], torch.stack((expected, 2 * expected, 0 * expected), -1))
    assert torch.equal(block_means(patch, 1), patch)
    with pytest.raises(ValueError, match="not square"):
        block_means(patch[:, :, :24], 2)


def test_block_means_see_through_noise_and_not_through_change():
    generator = torch.Generator().manual_seed(0)
    scene = torch.full((1, 64, 196, 3), 120.0)
    noisy = [scene + 20 * torch.randn(scene.shape, generator=generator) for _ in range(2)]
    assert (patch_cosine(*noisy, 1) >= 0.996).sum() == 0
    assert (patch_cosine(*noisy, 4) >= 0.996).sum() >= 60
    noisy[1].view(1, 64, 14, 14, 3)[:, :, :, 7:, 0] = 40.0  # half the patch loses its red
    assert (patch_cosine(*noisy, 4) >= 0.996).sum() == 0


def test_drift_is_the_distance_of_embeddings():
    now, then = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert drift(now, then).tolist() == [5.0, 0.0]
    assert relative_drift(now[1:], then[1:]).tolist() == [0.0]
    assert relative_drift(now[1:] * 3, then[1:]).tolist() == [2.0]
    small = 2.0**-10  # a model of small embeddings drifts as much
    assert relative_drift(now[1:] * 3 * small, then[1:] * small).tolist() == [2.0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 35))
def test_top_takes_the_highest_and_breaks_ties_by_index(values, k):
    mask = top(torch.tensor(values, dtype=torch.float32), k)
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert mask.nonzero().squeeze(-1).tolist() == sorted(ranked[:k])


@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 1000))
def test_of_equals_all_are_left_out_in_turn(n, kept, t):
    def left_out(step):
        back = turn(n, kept, t + step)
        mask = top(torch.zeros(n).roll(-back), kept).roll(back)
        return set((~mask).nonzero().squeeze(-1).tolist())

    if kept < n:
        rounds = -(-n // (n - kept))
        assert set().union(*(left_out(step) for step in range(rounds))) == set(range(n))
    else:
        assert not left_out(0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 35),
       st.integers(0, 100))
def test_only_equals_take_turns(values, k, t):
    scores = torch.tensor(values, dtype=torch.float32)
    back = turn(len(values), k, t)
    mask = top(scores.roll(-back), k).roll(back)
    assert sorted(scores[mask].tolist()) == sorted(sorted(values)[len(values) - mask.sum():])


def test_top_ranks_nan_last():
    mask = top(torch.tensor([float("nan"), 1.0, float("inf"), 0.0]), 3)
    assert mask.tolist() == [False, True, True, True]


def test_linear_schedule_at_hand_computed_steps():
    settings = SelectionSettings()
    shares = {t: budgets("linear", t, settings) for t in (0, 1, 30, 50, 100, 5000)}
    assert {t: (b.visual, b.attention) for t, b in shares.items()} == {
        0: (60, 40), 1: (59, 40), 30: (54, 46), 50: (50, 50), 100: (40, 60), 5000: (40, 60)}
    assert shares[5000].alpha == 1.0


def test_cosine_and_step_schedules():
    settings = SelectionSettings()
    cosine = [budgets("cosine", t, settings).visual for t in (0, 25, 50, 75, 100, 101)]
    assert cosine == [60, 57, 50, 42, 40, 40]
    step = [budgets("step", t, settings).visual for t in (0, 49, 50, 100)]
    assert step == [60, 60, 40, 40]


def test_adaptive_schedule_follows_the_concentration_of_attention():
    point, even = torch.zeros(256), torch.full((256,), 1e-3)
    point[7] = 0.2
    assert concentration(point) == pytest.approx(1) and concentration(even) == pytest.approx(0)
    sixteen = torch.zeros(256)
    sixteen[:16] = 1.0
    assert concentration(sixteen) == pytest.approx(0.5)  # log 16 / log 256
    assert budgets("adaptive", 999, SelectionSettings(), 0.5).visual == 50


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.floats(0, 1))
def test_covering_is_the_fewest_that_hold_the_share(values, share):
    scores = torch.tensor(values, dtype=torch.float64)
    mask = covering(scores, share)
    wanted = share * sum(values)
    assert scores[mask].sum() >= wanted - 1e-9
    if mask.any():
        smallest = scores[mask].min()
        assert scores[mask].sum() - smallest < wanted + 1e-9


def test_constant_schedule():
    assert budgets("constant", 0, SelectionSettings(alpha=0.25)) == budgets(
        "constant", 999, SelectionSettings(alpha=0.25))
    assert budgets("constant", 0, SelectionSettings(alpha=0.25)).visual == 55


@given(st.sampled_from(SCHEDULES), st.integers(0, 10**6), st.integers(0, 300),
       st.integers(0, 300), st.integers(1, 1000))
def test_budgets_stay_between_k1_and_k2(schedule, t, k1, k2, horizon):
    low, high = sorted((k1, k2))
    result = budgets(schedule, t, SelectionSettings(k1=low, k2=high, horizon=horizon))
    assert low <= result.visual <= high and low <= result.attention <= high
    assert low + high - 1 <= result.visual + result.attention <= low + high
    assert 0 <= result.alpha <= 1


@pytest.mark.parametrize(("values", "message"), [
    ({"k1": -1}, r"k1=-1 is outside \[0, 4096\]"),
    ({"k1": 70}, "k1=70 is above k2=60"),
    ({"static_threshold": float("nan")}, "static_threshold=nan is NaN"),
    ({"staleness": "magic"}, "staleness='magic' is not among 'pixel', 'drift'"),
    ({"grey_levels": 100}, "grey_levels=100 is not among 16, 32, 64, 256"),
    ({"horizon": 0}, "horizon=0"),
    ({"budget_of_k": 3}, "unknown selection parameter 'budget_of_k'; known: .*horizon"),
])
def test_bad_settings_name_parameter_value_and_range(values, message):
    with pytest.raises(SettingError, match=message):
        SelectionSettings.from_mapping(values)


def test_unknown_schedule_lists_the_known_ones():
    with pytest.raises(SettingError, match="schedule='cubic' is unknown; choose one of linear"):
        budgets("cubic", 0, SelectionSettings())


def test_all_of_a_sum_is_every_entry_but_the_zeros() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.zeros(300, 256)
    scores[:, :200] = torch.rand(300, 200, generator=generator) + 1e-4
    wanted = covering(scores[:, torch.randperm(256, generator=generator)], 1.0)
    assert (wanted.sum(-1) == 200).all()
