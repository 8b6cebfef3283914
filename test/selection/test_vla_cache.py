# SPDX-License-Identifier: Apache-2.0
"""vla_cache against its formula, and that of the released code, on hand-made inputs."""

from __future__ import annotations

import pytest
import torch

from test.selection.helpers import N, input_of
from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.selection import SelectionSettings, build_selector, reasons
from vla_infoentropy_ros.selection.vla_cache import reuse_proportions


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
