# SPDX-License-Identifier: Apache-2.0
"""What holds for several selectors or for any, on hand-made inputs and on random ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from test.selection.helpers import N, chosen, input_of
from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection import (
    SCHEDULES,
    SELECTORS,
    SelectionInput,
    SelectionSettings,
    build_selector,
    reasons,
)


@pytest.mark.parametrize("name", ["info_entropy", "vla_cache"])
def test_a_static_cap_rotates_through_what_is_equally_still(name):
    settings = SelectionSettings(k1=0, k2=0, static_cap=12, cache_static=12, cache_evicted=0,
                                 cache_attention_layer=0, cache_layers=(0,))
    selector = build_selector(name, settings=settings)
    for begin in (1, 6):
        turns = [selector.select(input_of(t=begin + step)).plan.fresh for step in range(4)]
        assert sorted(torch.cat(turns).tolist()) == list(range(N)), "each once in four steps"


def test_budgets_of_info_entropy_and_vla_cache_hold_in_each_view():
    """The second view is flat, still and hardly looked at, and gets its share all the same."""
    torch.manual_seed(0)
    patches = torch.full((2, N, 4, 3), 50, dtype=torch.uint8)
    patches[0] = torch.randint(0, 256, (N, 4, 3))
    patches[1, :, 0] = 60
    reference = patches.clone()
    reference[0] = 255 - reference[0]
    text = torch.full((4, 3, 2 * N), 1e-3)
    text[1:, 0, :N] = torch.linspace(0.1, 0.2, N)  # layer 0 looks everywhere alike
    given = input_of(
        patches=patches, reference_patches=reference, ages=torch.ones(2 * N, dtype=torch.int64),
        attention=Attention((0, 1, 2, 3), text, torch.full((4, 6, 2 * N), 1e-3)))
    settings = SelectionSettings(k1=2, k2=3, static_cap=10, cache_static=10, cache_evicted=4,
                                 cache_layers=(2,), cache_damping=1.0)

    def claimed(name: str, bit: int, **changes) -> list[int]:
        selector = build_selector(name, "constant", replace(settings, **changes))
        return [int((view & bit != 0).sum()) for view in selector.select(given).reasons.view(2, N)]

    assert claimed("info_entropy", reasons.IMAGE_ENTROPY) == [2, 2]
    assert claimed("info_entropy", reasons.ATTENTION) == [2, 2]
    # The first view moved; of the second, at rest, ten may be reused.
    for name in ("info_entropy", "vla_cache"):
        assert claimed(name, reasons.STALE) == [N, 0]
        assert claimed(name, reasons.AGE) == [0, N - 10]
    given = replace(given, reference_patches=patches)
    assert claimed("vla_cache", reasons.ATTENTION, cache_static=N) == [4, 4]


def test_random_draws_anew_each_step_but_the_same_for_the_same_seed():
    def draw(t, seed):
        settings = SelectionSettings(fresh_tokens=5, seed=seed)
        return chosen(build_selector("random", settings=settings), input_of(t=t))

    assert draw(3, 1) == draw(3, 1) and len(draw(3, 1)) == 5
    assert len({tuple(draw(t, 1)) for t in range(8)}) > 1 and draw(3, 1) != draw(3, 2)


def test_stale_recomputes_nothing():
    assert chosen(build_selector("stale"), input_of(embeddings=torch.randn(N, 3))) == []


def test_unknown_selector_lists_the_known_ones():
    with pytest.raises(SettingError, match="selector='magic' is not among dense, info_entropy"):
        build_selector("magic")


def partly_changed(seed: int, views: int, changed: float, t: int = 1) -> SelectionInput:
    """Random scores, and a reference from which about ``changed`` of the patches and of the
    embeddings differ."""
    torch.manual_seed(seed)
    total = views * N
    patches = torch.randint(0, 256, (views, N, 4, 3), dtype=torch.uint8)
    embeddings = torch.randn(total, 3)
    moved = torch.rand(total) < changed
    return SelectionInput(
        t=t,
        patches=patches,
        reference_patches=torch.where(
            moved.view(views, N, 1, 1), torch.randint_like(patches, 256), patches).float(),
        embeddings=embeddings,
        reference_embeddings=torch.where(moved[:, None], torch.randn(total, 3), embeddings),
        ages=torch.randint(0, 9, (total,)),
        attention=Attention((0, 1, 2, 3), torch.rand(4, 3, total), torch.rand(4, 6, total)),
        words=torch.tensor([0, 1]), depth=4,
    )


def changed_patches(given: SelectionInput) -> torch.Tensor:
    """(N,) bool: clearly below the papers' threshold of 0.996."""
    pixels = [each.float().flatten(2) for each in (given.patches, given.reference_patches)]
    return torch.nn.functional.cosine_similarity(*pixels, dim=-1).flatten() < 0.99


@pytest.mark.parametrize("name", ["info_entropy", "vla_cache"])
def test_what_changed_is_recomputed_and_some_of_the_rest_is_not(name):
    settings = SelectionSettings(
        k1=1, k2=3, static_cap=N, cache_static=N, cache_evicted=3, patch_block=1)
    selector = build_selector(name, settings=settings)
    for seed in range(20):
        given = partly_changed(seed, views=2, changed=0.3)
        fresh, changed = selector.select(given).plan.fresh, changed_patches(given)
        assert changed[fresh].sum() == changed.sum() > 0
        assert len(fresh) < 2 * N


@given(data=st.data(), name=st.sampled_from(SELECTORS), views=st.integers(1, 3))
def test_any_plan_is_valid_and_pure(data, name, views):
    """Sorted, unique, in range and nested, for any scores, budgets and views; inputs untouched."""
    total = views * N
    k1, k2 = sorted(data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    settings = SelectionSettings(
        k1=k1, k2=k2, fresh_tokens=data.draw(st.integers(0, 20)),
        static_cap=data.draw(st.integers(0, 20)),
        reuse_from_layer=data.draw(st.integers(0, 3)),
        staleness=data.draw(st.sampled_from(["pixel", "drift"])),
        attention_mode=data.draw(st.sampled_from(["paper", "renorm", "temperature"])),
        form=data.draw(st.sampled_from(["paper", "half_drift"])),
        cache_static=data.draw(st.integers(0, 20)), cache_evicted=data.draw(st.integers(0, 20)),
        cache_order=data.draw(st.sampled_from(["score", "raster"])),
        cache_layers=data.draw(st.sampled_from([(0,), (2, 6, 9, 11), (8, 24)])),
        prune_ratio=data.draw(st.floats(0, 0.99)),
        prune_window=data.draw(st.integers(1, 2)), top_up_to=data.draw(st.integers(0, 20)),
        age_limit=data.draw(st.integers(0, 12)), keyframe_every=data.draw(st.integers(0, 7)),
    )
    selector = build_selector(name, data.draw(st.sampled_from(SCHEDULES)), settings)
    given = partly_changed(data.draw(st.integers(0, 2**31)), views,
                           data.draw(st.sampled_from([0.0, 0.3, 1.0])),
                           t=data.draw(st.integers(1, 1000)))
    before = [given.embeddings.clone(), given.attention.text.clone(), given.patches.clone()]
    first, second = selector.select(given), selector.select(given)
    wider = set(range(total))
    for stage, again in zip(first.plan.stages, second.plan.stages, strict=True):
        tokens = stage.fresh.tolist()
        assert tokens == sorted(set(tokens)) and set(tokens) <= wider
        assert torch.equal(stage.fresh, again.fresh)
        wider = set(tokens)
    assert first.reasons.shape == (total,) and first.reasons.dtype == torch.uint8
    marked = (first.reasons != 0).nonzero().squeeze(-1).tolist()
    assert marked == first.plan.fresh.tolist()
    if first.plan.pruning is not None:
        kept = first.plan.pruning.choose(torch.rand(total)).tolist()
        assert kept == sorted(set(kept)) and set(kept) <= set(range(total))
        per_view = [sum(token // N == view for token in kept) for view in range(views)]
        assert per_view == [max(1, round(N * (1 - settings.prune_ratio)))] * views
    for tensor, kept in zip(
        [given.embeddings, given.attention.text, given.patches], before, strict=True
    ):
        assert torch.equal(tensor, kept)
