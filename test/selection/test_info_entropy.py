# SPDX-License-Identifier: Apache-2.0
"""info_entropy against its formula on hand-made inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from test.selection.helpers import N, attended, chosen, input_of
from vla_infoentropy_ros.selection import SelectionSettings, build_selector, reasons


def test_info_entropy_recomputes_the_union_and_the_changed():
    settings = SelectionSettings(k1=1, k2=2, static_cap=16, reuse_from_layer=0)
    selector = build_selector("info_entropy", "constant", replace(settings, alpha=0.0))
    patches = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    patches[0, 1, 0] = 255  # token 1: one pixel of four differs
    patches[0, 4] = torch.tensor([[1], [90], [180], [250]], dtype=torch.uint8)  # all four differ
    before = patches.clone()
    before[0, 9, :, 0] = 0  # token 9 was another colour
    given = input_of(patches=patches, reference_patches=before,
                     attention=attended({1: 5e-2, 7: 9e-2, 8: 2e-2}))
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
    patches = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    patches[0, 1, 0] = 255
    selection = selector.select(
        input_of(patches=patches, reference_patches=patches, attention=attended({1: 5e-2})))
    assert selection.reasons[1] == reasons.IMAGE_ENTROPY | reasons.ATTENTION
    assert [stage.layer for stage in selection.plan.stages] == [0, 1]  # 2 of 32, in 4 layers
    assert selection.plan.stages[0].fresh.tolist() == list(range(N))


def test_info_entropy_static_cap_keeps_the_most_similar():
    settings = SelectionSettings(k1=0, k2=0, static_cap=3, static_threshold=0.5)
    changed = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    changed[0, :13, 0, 0] = 60  # thirteen slightly changed, three untouched: those are kept
    assert chosen(build_selector("info_entropy", "linear", settings),
                  input_of(patches=changed)) == list(range(13))


def test_info_entropy_drift_staleness_reads_embeddings_not_pixels():
    settings = SelectionSettings(k1=0, k2=0, static_cap=16, staleness="drift", drift_threshold=0.5)
    selector = build_selector("info_entropy", "linear", settings)
    embeddings = torch.ones(N, 3)
    embeddings[[2, 5]] *= 1.4
    embeddings[11] *= 1.6
    noisy = torch.randint(0, 255, (1, N, 4, 3), dtype=torch.uint8)
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


def test_info_entropy_half_drift_fills_the_budget_exactly():
    settings = SelectionSettings(k1=40, k2=60, fresh_tokens=8, form="half_drift")
    selector = build_selector("info_entropy", "linear", settings)
    patches = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    patches[0, [1, 2], 0] = 255  # most textured: k_visual = 4 * 59 // 99 = 2
    embeddings = torch.ones(N, 3)
    embeddings[[2, 9, 10, 11, 12, 13]] *= torch.tensor([9.0, 3.0, 3.0, 2.0, 1.5, 1.4])[:, None]
    given = input_of(patches=patches, reference_patches=patches, embeddings=embeddings,
                     attention=attended({6: 5e-2, 1: 4e-2}))
    selection = selector.select(given)
    assert (selection.k_visual, selection.k_attention) == (2, 2)
    # 1 and 2 by texture, 6 and 1 by attention, and five by drift since 1 was claimed twice.
    assert selection.plan.fresh.tolist() == [1, 2, 6, 9, 10, 11, 12, 13]
    assert [stage.layer for stage in selection.plan.stages] == [0]


@pytest.mark.parametrize(
    ("layers", "read"),
    [("all", tuple(range(10))), ("latter_half", (5, 6, 7, 8, 9)), ("every_fourth", (1, 5, 9))],
)
def test_the_layers_whose_attention_is_read(layers, read):
    selector = build_selector("info_entropy", settings=SelectionSettings(attention_layers=layers))
    assert selector.needs(10).resolve(10) == read
