# SPDX-License-Identifier: Apache-2.0
"""What a session hands to its selector and to the next step, followed over an episode."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from test.session.helpers import SMALL, session_of
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine.heads import Decoded
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session


class Watched:
    """A selector that notes what it is given, and what it chose."""

    def __init__(self, name: str, **changes) -> None:
        self._selector = build_selector(name, settings=replace(SMALL, **changes))
        self.name, self.schedule = self._selector.name, self._selector.schedule
        self.reuses, self.prunes = self._selector.reuses, self._selector.prunes
        self.seen, self.fresh = [], []

    def needs(self, depth):
        return self._selector.needs(depth)

    def select(self, given):
        selection = self._selector.select(given)
        copies = {name: getattr(given, name).clone() for name in (
            "embeddings", "reference_embeddings", "patches", "reference_patches", "ages")}
        self.seen.append(replace(given, **copies))
        self.fresh.append(selection.plan.fresh.clone())
        return selection


@pytest.mark.parametrize("name", ["attention_drift", "info_entropy", "vla_cache", "random"])
def test_a_token_is_held_against_the_frame_it_was_computed_from(name):
    """Not against the one before: what it drifts adds up until it is recomputed."""
    selector = Watched(name, static_threshold=-1.0, cache_evicted=4)
    session = Session(TinyPolicy(), selector)
    session.set_instruction("pick up")
    sequence = frames(9, changed=60)
    first = session.policy.preprocess([sequence[0]])
    session.step([sequence[0]])
    embeddings = session.policy.embed_vision(first.pixels)
    ages = torch.zeros(16, dtype=torch.int64)
    patches = None
    kept = 0
    for frame in sequence[1:]:
        session.step([frame])
        given, fresh = selector.seen[-1], selector.fresh[-1]
        assert torch.equal(given.reference_embeddings, embeddings)
        assert torch.equal(given.ages, ages)
        if patches is not None:
            assert torch.equal(given.reference_patches, patches)
        patches = given.reference_patches.clone()
        patches[0, fresh] = given.patches[0, fresh].float()
        embeddings = embeddings.clone()
        embeddings[fresh] = given.embeddings[fresh]
        ages = (ages + 1).index_fill(0, fresh, 0)
        kept = max(kept, int(ages.max()))
    assert kept >= 2, "some token must have been kept for more than a step"


def test_words_are_those_of_the_instruction_not_of_the_template():
    selector = Watched("attention_drift")
    session = Session(TinyPolicy(), selector)
    session.set_instruction("pick up")  # six letters, then the end of the prompt
    for frame in frames(2):
        session.step([frame])
    assert selector.seen[-1].words.tolist() == [0, 1, 2, 3, 4, 5]
    assert selector.seen[-1].attention.text.shape[1] == 7


def test_the_draft_is_the_last_action():
    session = session_of(decode="window")
    one, other = frames(2, changed=700)
    session.step([one])
    assert session.step([other]).decoder_passes > 1, "the scenes must differ in their action"
    # The same picture again and again: every token settles, and the draft is right at once.
    for _ in range(8):
        result = session.step([other])
    assert result.decoder_passes == 1


def test_entropy_is_the_mean_over_all_tokens():
    """Of one sure token and one that lies between two and four alternatives."""
    logits = torch.full((3, 8), float("-1e9"))
    logits[0, 0] = 0.0
    logits[1, :2] = 0.0
    logits[2, :4] = 0.0
    decoded = Decoded(logits.argmax(-1), logits, passes=1)
    expected = (0 + torch.tensor(2.0).log() + torch.tensor(4.0).log()) / 3
    assert decoded.entropy().item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_share_of_reuse_is_of_all_tokens():
    session = session_of()
    for frame in frames(2):
        report = session.step([frame]).report
    assert (report.fresh, report.reused, report.pruned) == (3, 13, 0)
    assert report.reuse_ratio == 13 / 16
    pruner = session_of("fastv")
    report = pruner.step([frames(1)[0]]).report
    assert (report.fresh, report.reused, report.pruned, report.reuse_ratio) == (8, 0, 8, 0.0)
