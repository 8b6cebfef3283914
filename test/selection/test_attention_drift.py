# SPDX-License-Identifier: Apache-2.0
"""attention_drift against its formula on hand-made inputs."""

from __future__ import annotations

import torch

from test.selection.helpers import N, attended, chosen, input_of
from vla_infoentropy_ros.selection import SelectionSettings, build_selector


def test_attention_drift_is_root_of_drift_times_mass_plus_mean():
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


def test_the_exponent_decides_between_what_moved_and_what_is_looked_at():
    embeddings = torch.ones(N, 3)
    embeddings[2, 0] += 36.0  # drift 36 at mass 1e-3
    embeddings[5, 0] += 1.0  # drift 1 at mass a
    attention = attended({5: 0.4})
    mass = attention.text.mean((0, 1))
    ratio = float((mass[5] + mass.mean()) / (mass[2] + mass.mean()))
    assert 36**0.5 < ratio < 36  # so the root chooses 5, the drift itself 2
    given = input_of(embeddings=embeddings, attention=attention)
    for exponent, expected in ((None, [5]), (0.5, [5]), (1.0, [2]), (0.0, [5])):
        told = {} if exponent is None else {"drift_exponent": exponent}
        settings = SelectionSettings(fresh_tokens=1, **told)
        assert chosen(build_selector("attention_drift", settings=settings), given) == expected


def test_attention_drift_follows_the_action_rows_only_when_told():
    embeddings = torch.ones(N, 3)
    embeddings[[3, 9], 0] += 1.0  # alike, and alike to the words: the tie would go to 3
    looked_at = input_of(embeddings=embeddings, attention=attended({}, {9: 0.3}))
    for rows, expected in (("text", [3]), ("action", [9]), ("text_and_action", [9])):
        settings = SelectionSettings(fresh_tokens=1, drift_rows=rows)
        selector = build_selector("attention_drift", settings=settings)
        assert selector.needs(4).action == (rows != "text")
        assert chosen(selector, looked_at) == expected
        assert chosen(selector, input_of(embeddings=embeddings)) == [3]


def test_attention_drift_adaptive_takes_what_covers_the_score():
    embeddings = torch.ones(N, 3)
    embeddings[:4, 0] += torch.tensor([64.0, 16.0, 4.0, 1.0])  # uniform mass: score ~ its root
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
