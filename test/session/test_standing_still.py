# SPDX-License-Identifier: Apache-2.0
"""A picture that moved and then stands still: what is reused comes to be what dense computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from test.models.tiny_flow import tiny_flow_policy
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.session import Session

FRESH = 4  # of 16 tokens


def tokens() -> tuple[Any, list[Any], str]:
    return TinyPolicy(scale=0.3), frames(6, changed=200), "pick up"


def flow() -> tuple[Any, list[Any], str]:
    return tiny_flow_policy(), frames(6, changed=3000, side=56), "put red"


@pytest.mark.parametrize("make", [tokens, flow])
@pytest.mark.parametrize(("selector", "settings"), [
    ("attention_drift", {}), ("info_entropy", {"form": "half_drift"}),
])
def test_a_budget_is_spent_on_the_oldest_where_nothing_drifts(
    make: Callable[[], tuple[Any, list[Any], str]], selector: str, settings: dict[str, Any]
) -> None:
    """What a layer reads is right one round after the layer before it is."""
    policy, pictures, words = make()
    chosen = build_selector(
        selector, settings=SelectionSettings(fresh_tokens=FRESH, **settings))
    ours, dense = Session(policy, chosen), Session(policy, build_selector("dense"))
    for session in (ours, dense):
        session.set_instruction(words)
    rounds = len(policy.backbone.layers) + 1  # in the first, what moved before still drifts
    round_ = policy.grid[0] * policy.grid[1] // (FRESH // 2)  # half may be for what is important
    still = [pictures[-1]] * (rounds * round_)
    off = []
    for picture in (*pictures, *still):
        for session in (ours, dense):
            session.step([picture])
        columns = ours.decoder.layout.visual_columns
        keys = [session.decoder.cache.keys[..., columns, :] for session in (ours, dense)]
        off.append(float((keys[0] - keys[1]).abs().max()))
    assert off[len(pictures) - 1] > 1e-3, "nothing was stale"
    assert off[-1] < 1e-5
    assert torch.isfinite(keys[0]).all()
