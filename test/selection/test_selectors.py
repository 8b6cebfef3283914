# SPDX-License-Identifier: Apache-2.0
"""Each selector against its formula on hand-made inputs, and any selector on random ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.selection import (
    SELECTORS,
    SelectionError,
    SelectionInput,
    SelectionSettings,
    build_selector,
    reasons,
)

N = 16


def input_of(**changes) -> SelectionInput:
    """4x4 tokens of 2x2 black pixels, nothing moved, attention uniform; two words and an end."""
    attention = Attention((0, 1), torch.full((2, 3, N), 1e-3), torch.full((2, 6, N), 1e-3))
    patches = torch.full((1, N, 12), 50, dtype=torch.uint8)
    base = SelectionInput(
        t=1, grid=(4, 4), image=torch.zeros((1, 8, 8, 3), dtype=torch.uint8),
        patches=patches, reference_patches=patches.clone(),
        embeddings=torch.ones(N, 3), reference_embeddings=torch.ones(N, 3),
        ages=torch.ones(N, dtype=torch.int64), attention=attention,
        instruction=torch.tensor([True, True, False]), depth=4,
    )
    return replace(base, **changes)


def chosen(selector, given) -> list[int]:
    return selector.select(given).plan.fresh.tolist()


def attended(words: dict[int, float], actions: dict[int, float] | None = None) -> Attention:
    """Attention whose first word claims the given tokens."""
    text = torch.full((2, 3, N), 1e-3)
    action = torch.full((2, 6, N), 1e-3)
    for token, mass in words.items():
        text[:, 0, token] = mass
    for token, mass in (actions or {}).items():
        action[:, :, token] = mass
    return Attention((0, 1), text, action)


def test_info_entropy_recomputes_the_union_and_the_changed():
    settings = SelectionSettings(k1=1, k2=2, static_cap=16, reuse_from_layer=0)
    selector = build_selector("info_entropy", "constant", replace(settings, alpha=0.0))
    image = torch.zeros((1, 8, 8, 3), dtype=torch.uint8)
    image[0, 0, 2] = 255  # token 1: 1 of 4 pixels
    image[0, 2:4, 0:2, :] = torch.tensor([[[1], [90]], [[180], [250]]]).expand(2, 2, 3).byte()
    moved = torch.full((1, N, 12), 50, dtype=torch.uint8)
    moved[0, 9, ::2] = 0  # token 9 changed
    given = input_of(image=image, patches=moved, attention=attended({1: 5e-2, 7: 9e-2, 8: 2e-2}))
    selection = selector.select(given)
    # alpha 0: two by image entropy (4 and 1), one by attention (7), and 9 for having moved.
    assert selection.plan.fresh.tolist() == [1, 4, 7, 9]
    bits = selection.reasons.tolist()
    assert (bits[1], bits[4], bits[7], bits[9], bits[0]) == (
        reasons.IMAGE_ENTROPY, reasons.IMAGE_ENTROPY, reasons.ATTENTION, reasons.STALE, 0)
    assert (selection.k_visual, selection.k_attention) == (2, 1)


def test_info_entropy_gives_both_reasons_where_both_claim():
    settings = SelectionSettings(k1=1, k2=1, static_cap=16)
    selector = build_selector("info_entropy", "constant", settings)
    image = torch.zeros((1, 8, 8, 3), dtype=torch.uint8)
    image[0, 0, 2] = 255
    selection = selector.select(input_of(image=image, attention=attended({1: 5e-2})))
    assert selection.reasons[1] == reasons.IMAGE_ENTROPY | reasons.ATTENTION
    assert [stage.layer for stage in selection.plan.stages] == [0, 2]  # the paper's preset
    assert selection.plan.stages[0].fresh.tolist() == list(range(N))


def test_info_entropy_static_cap_keeps_the_most_similar():
    settings = SelectionSettings(k1=0, k2=0, static_cap=3, static_threshold=0.5)
    changed = torch.full((1, N, 12), 50, dtype=torch.uint8)
    changed[0, :13, 0] = 60  # thirteen slightly changed, three untouched: those are kept
    assert chosen(build_selector("info_entropy", "linear", settings),
                  input_of(patches=changed)) == list(range(13))


def test_info_entropy_drift_staleness_reads_embeddings_not_pixels():
    settings = SelectionSettings(k1=0, k2=0, static_cap=16, staleness="drift", drift_threshold=0.5)
    selector = build_selector("info_entropy", "linear", settings)
    embeddings = torch.ones(N, 3)
    embeddings[[2, 5]] *= 1.4
    embeddings[11] *= 1.6
    noisy = torch.randint(0, 255, (1, N, 12), dtype=torch.uint8)
    assert chosen(selector, input_of(embeddings=embeddings, patches=noisy)) == [11]


def test_info_entropy_words_can_be_all_text():
    attention = attended({3: 1e-3})
    attention.text[:, 2, 6] = 0.2  # the end-of-prompt row, no word of the instruction
    settings = SelectionSettings(k1=1, k2=1, static_cap=16)
    image_top = 0  # all patches are flat: the tie goes to token 0
    only_words = build_selector("info_entropy", "linear", settings)
    assert 6 not in chosen(only_words, input_of(attention=attention))
    all_text = build_selector("info_entropy", "linear", replace(settings, words="all_text"))
    assert chosen(all_text, input_of(attention=attention)) == [image_top, 6]


def test_attention_drift_is_drift_times_mass_plus_mean():
    embeddings = torch.ones(N, 3)
    embeddings[2, 0] += 4.0  # drift 4 at mass 1e-3
    embeddings[5, 0] += 1.0  # drift 1 at high mass
    embeddings[7, 0] += 3.0  # drift 3 at mass 1e-3
    attention = attended({5: 0.3}, {5: 0.3})
    selector = build_selector("attention_drift", settings=SelectionSettings(fresh_tokens=1))
    mass = torch.cat((attention.text, attention.action), 1).mean((0, 1))
    assert mass[5] + mass.mean() > 4 * (mass[2] + mass.mean())
    given = input_of(embeddings=embeddings, attention=attention)
    assert chosen(selector, given) == [5]
    two = build_selector("attention_drift", settings=SelectionSettings(fresh_tokens=2))
    assert chosen(two, given) == [2, 5]
    # Nobody looks at 2 or 7, yet the mean lets them come once 5 is up to date.
    embeddings[5] = 1.0
    assert chosen(two, input_of(embeddings=embeddings, attention=attention)) == [2, 7]


def test_unknown_selector_lists_the_known_ones():
    with pytest.raises(SelectionError, match="selector='magic' is unknown; choose one of dense"):
        build_selector("magic")


@given(data=st.data(), name=st.sampled_from(SELECTORS), views=st.integers(1, 3))
def test_any_plan_is_valid_and_pure(data, name, views):
    """Sorted, unique, in range and nested, for any scores, budgets and views; inputs untouched."""
    seed = data.draw(st.integers(0, 2**31))
    torch.manual_seed(seed)
    total = views * N
    k1, k2 = sorted(data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    settings = SelectionSettings(
        k1=k1, k2=k2, fresh_tokens=data.draw(st.integers(0, 20)),
        static_cap=data.draw(st.integers(0, 20)),
        reuse_from_layer=data.draw(st.integers(0, 3)),
        staleness=data.draw(st.sampled_from(["pixel", "drift"])),
        attention_mode=data.draw(st.sampled_from(["paper", "renorm", "temperature"])),
    )
    selector = build_selector(name, "linear", settings)
    attention = Attention((0, 1, 2, 3), torch.rand(4, 3, total), torch.rand(4, 6, total))
    given = SelectionInput(
        t=data.draw(st.integers(1, 1000)), grid=(4, 4),
        image=torch.randint(0, 256, (views, 8, 8, 3), dtype=torch.uint8),
        patches=torch.randint(0, 256, (views, N, 12), dtype=torch.uint8),
        reference_patches=torch.randint(0, 256, (views, N, 12), dtype=torch.uint8),
        embeddings=torch.randn(total, 3), reference_embeddings=torch.randn(total, 3),
        ages=torch.randint(0, 9, (total,)), attention=attention,
        instruction=torch.tensor([True, True, False]), depth=4,
    )
    before = [given.embeddings.clone(), attention.text.clone(), given.patches.clone()]
    first, second = selector.select(given), selector.select(given)
    wider = set(range(total))
    for stage, again in zip(first.plan.stages, second.plan.stages, strict=True):
        tokens = stage.fresh.tolist()
        assert tokens == sorted(set(tokens)) and set(tokens) <= wider
        assert torch.equal(stage.fresh, again.fresh)
        wider = set(tokens)
    assert first.reasons.shape == (total,) and first.reasons.dtype == torch.uint8
    assert (first.reasons != 0).nonzero().squeeze(-1).tolist() == first.plan.fresh.tolist()
    for tensor, kept in zip(
        [given.embeddings, attention.text, given.patches], before, strict=True
    ):
        assert torch.equal(tensor, kept)
