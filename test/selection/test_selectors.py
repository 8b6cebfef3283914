# SPDX-License-Identifier: Apache-2.0
"""Each selector against its formula on hand-made inputs, and any selector on random ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
from vla_infoentropy_ros.selection.vla_cache import reuse_proportions
from vla_infoentropy_ros.selection.vla_pruner import diverse, smoothed

N = 16


def input_of(**changes) -> SelectionInput:
    """4x4 tokens of 2x2 black pixels, nothing moved, attention uniform; two words and an end."""
    attention = Attention((0, 1), torch.full((2, 3, N), 1e-3), torch.full((2, 6, N), 1e-3))
    patches = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    base = SelectionInput(
        t=1,
        patches=patches, reference_patches=patches.clone(),
        embeddings=torch.ones(N, 3), reference_embeddings=torch.ones(N, 3),
        ages=torch.ones(N, dtype=torch.int64), attention=attention,
        words=torch.tensor([0, 1]), depth=4,
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


@pytest.mark.parametrize("name", ["info_entropy", "vla_cache"])
def test_a_static_cap_rotates_through_what_is_equally_still(name):
    settings = SelectionSettings(k1=0, k2=0, static_cap=12, cache_static=12, cache_evicted=0,
                                 cache_attention_layer=0, cache_layers=(0,))
    selector = build_selector(name, settings=settings)
    for begin in (1, 6):
        turns = [selector.select(input_of(t=begin + step)).plan.fresh for step in range(4)]
        assert sorted(torch.cat(turns).tolist()) == list(range(N)), "each once in four steps"


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


def test_attention_drift_is_drift_times_mass_plus_mean():
    embeddings = torch.ones(N, 3)
    embeddings[2, 0] += 4.0  # drift 4 at mass 1e-3
    embeddings[5, 0] += 1.0  # drift 1 at high mass
    embeddings[7, 0] += 3.0  # drift 3 at mass 1e-3
    attention = attended({5: 0.5})
    selector = build_selector("attention_drift", settings=SelectionSettings(fresh_tokens=1))
    mass = attention.text.mean((0, 1))
    assert mass[5] + mass.mean() > 4 * (mass[2] + mass.mean())
    given = input_of(embeddings=embeddings, attention=attention)
    assert chosen(selector, given) == [5]
    two = build_selector("attention_drift", settings=SelectionSettings(fresh_tokens=2))
    assert chosen(two, given) == [2, 5]
    # Nobody looks at 2 or 7, yet the mean lets them come once 5 is up to date.
    embeddings[5] = 1.0
    assert chosen(two, input_of(embeddings=embeddings, attention=attention)) == [2, 7]


def test_attention_drift_follows_the_action_rows_only_when_told():
    embeddings = torch.ones(N, 3)
    embeddings[[3, 9], 0] += 1.0  # alike, and alike to the words: the tie would go to 3
    looked_at = input_of(embeddings=embeddings, attention=attended({}, {9: 0.3}))
    for rows, expected in (("text", [3]), ("text_and_action", [9])):
        settings = SelectionSettings(fresh_tokens=1, drift_rows=rows)
        selector = build_selector("attention_drift", settings=settings)
        assert chosen(selector, looked_at) == expected
        assert chosen(selector, input_of(embeddings=embeddings)) == [3]


def test_attention_drift_adaptive_takes_what_covers_the_score():
    embeddings = torch.ones(N, 3)
    embeddings[:4, 0] += torch.tensor([8.0, 4.0, 2.0, 1.0])  # uniform mass: score ~ drift
    given = input_of(embeddings=embeddings)

    def fresh(coverage, least=0, most=16):
        settings = SelectionSettings(coverage=coverage, least_tokens=least, fresh_tokens=most)
        return chosen(build_selector("attention_drift", "adaptive", settings), given)

    assert fresh(0.5) == [0]  # 8 of 15
    assert fresh(0.79) == [0, 1]  # 12 of 15 is 0.8
    assert fresh(0.81) == [0, 1, 2]
    assert fresh(1.0) == [0, 1, 2, 3]
    assert fresh(0.5, least=3) == [0, 1, 2]
    assert fresh(1.0, most=2) == [0, 1]
    still = input_of()  # nothing drifted: the least, by index
    settings = SelectionSettings(least_tokens=2)
    assert chosen(build_selector("attention_drift", "adaptive", settings), still) == [0, 1]


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


def test_vla_cache_reuses_static_tokens_nobody_attends_to():
    before = torch.full((1, N, 4, 3), 50, dtype=torch.uint8)
    now = before.clone()
    now[0, 9, :, 0] = 0  # changed
    text = torch.full((4, 3, N), 1e-3)
    text[0, :, 5] = 1.1e-3  # almost uniform: this layer would reuse nothing, and evict another
    text[1, :, 3] = 0.9  # the most concentrated: all that is reusable is reused from here on
    text[2, :, 4] = 0.02  # layer 15 of 32 stands at 2 of 4; by itself it would reuse fewer
    text[3, :, 6] = 0.1  # another layer: no matter
    attention = Attention((0, 1, 2, 3), text, torch.full((4, 6, N), 1e-3))
    assert reuse_proportions(attention, 1.0)[1] == 1 > reuse_proportions(attention, 1.0)[2]
    settings = SelectionSettings(cache_static=16, cache_evicted=1, cache_layers=(2, 9),
                                 cache_damping=1.0)
    selection = build_selector("vla_cache", settings=settings).select(
        input_of(patches=now, reference_patches=before, attention=attention))
    assert [(stage.layer, stage.fresh.tolist()) for stage in selection.plan.stages] == [
        (0, list(range(N))), (1, [4, 9]), (2, [4, 9])]
    assert selection.reasons.tolist() == [
        {4: reasons.ATTENTION, 9: reasons.STALE}.get(token, 0) for token in range(N)]


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
    # The first view moved; of the second, at rest, ten count as unchanged.
    assert claimed("info_entropy", reasons.STALE) == [N, N - 10]
    assert claimed("vla_cache", reasons.STALE) == [N, N - 10]
    given = replace(given, reference_patches=patches)
    assert claimed("vla_cache", reasons.ATTENTION, cache_static=N) == [4, 4]


def test_vla_cache_proportions_by_hand():
    """Entropies 1, 0.5, 0 and 1 bit give raw proportions 0, 0.5, 1, 0; each rise counts 0.55."""
    rows = torch.tensor([[0.5, 0.5], [0.89002786, 0.10997214], [1.0, 0.0], [0.5, 0.5]])
    attention = Attention((0, 1, 2, 3), rows[:, None], rows[:, None])
    shares = reuse_proportions(attention, 0.55).tolist()
    first = 0.55 * 0.5
    assert shares == pytest.approx([0, first, first + 0.55 * (1 - first), 0], abs=1e-4)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(("order", "reused"), [("score", [12, 13, 14]), ("raster", [0, 1, 2])])
def test_vla_cache_order_decides_who_is_reused_first(order, reused, views):
    """In each view: the second, all of it a little changed, gets its share as the first does."""
    before = torch.full((views, N, 4, 3), 50, dtype=torch.uint8)
    now = before.clone()
    now[0, :12, 0, 0] = 55  # a little changed, yet static
    now[1:, :, 0, 0] = 55
    now[1:, :12, 0, 0] = 60
    # All layers spread but the last, which is sharp: the damped rise is a share of 3.4 / 16 there.
    total = views * N
    mass = torch.full((32, 1, total), 1 / total)
    mass[31, 0] = torch.eye(total)[0]
    settings = SelectionSettings(cache_static=16, cache_evicted=0, cache_layers=(31,),
                                 cache_order=order, cache_damping=3.4 / 16)
    given = input_of(patches=now, reference_patches=before, depth=32,
                     ages=torch.ones(total, dtype=torch.int64),
                     attention=Attention(tuple(range(32)), mass, mass))
    selection = build_selector("vla_cache", settings=settings).select(given)
    kept = sorted(set(range(total)) - set(selection.plan.fresh.tolist()))
    assert kept == [view * N + token for view in range(views) for token in reused]


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


def test_the_released_entropy_is_ours_on_other_rows():
    """All rows over all columns of hand-made maps, written from the formula: what differs from
    the released code is which rows are read, not what is made of them."""
    maps = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(0)).tril() + 1e-6
    maps = maps / maps.sum(-1, keepdim=True)
    entropy = torch.stack([-(row * row.log()).sum(-1).mean() for row in maps])
    share = 1 - (entropy - entropy.min()) / (entropy.max() - entropy.min())
    expected = [share[0].item()]
    for layer in range(1, 4):
        rise = share[layer].item() - expected[-1]
        expected.append(expected[-1] + 0.55 * rise if rise > 0 else share[layer].item())
    found = reuse_proportions(Attention((0, 1, 2, 3), maps, maps), 0.55)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


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


def test_random_draws_anew_each_step_but_the_same_for_the_same_seed():
    def draw(t, seed):
        settings = SelectionSettings(fresh_tokens=5, seed=seed)
        return chosen(build_selector("random", settings=settings), input_of(t=t))

    assert draw(3, 1) == draw(3, 1) and len(draw(3, 1)) == 5
    assert len({tuple(draw(t, 1)) for t in range(8)}) > 1 and draw(3, 1) != draw(3, 2)


def test_stale_recomputes_nothing():
    assert chosen(build_selector("stale"), input_of(embeddings=torch.randn(N, 3))) == []


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


def test_unknown_selector_lists_the_known_ones():
    with pytest.raises(SettingError, match="selector='magic' is unknown; choose one of dense"):
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
        assert per_view == [round(N * (1 - settings.prune_ratio))] * views
    for tensor, kept in zip(
        [given.embeddings, given.attention.text, given.patches], before, strict=True
    ):
        assert torch.equal(tensor, kept)
