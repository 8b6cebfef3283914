# SPDX-License-Identifier: Apache-2.0
"""The weights that come with the package: they fit their recipe, and they work."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.weights_file import SHIPPED
from vla_infoentropy_ros.sim import EVALUATION_SEED, Tabletop, rollout
from vla_infoentropy_ros.sim.tasks import sample_task
from vla_infoentropy_ros.training.config import default_recipe

SEEDS = range(EVALUATION_SEED + 5_000, EVALUATION_SEED + 5_004)


@pytest.fixture(scope="module")
def policy() -> EmbeddedPolicy:
    return EmbeddedPolicy.load()


@pytest.fixture(scope="module")
def env() -> Iterator[Tabletop]:
    with Tabletop() as simulator:
        yield simulator


def test_small_enough_for_a_repository() -> None:
    assert (SHIPPED / "policy.safetensors").stat().st_size < 15e6


def test_files_are_those_of_the_recipe(policy: EmbeddedPolicy) -> None:
    assert policy.config.dump() == default_recipe().policy_config().dump()


def test_record_tells_what_was_reached() -> None:
    record = json.loads((SHIPPED / "training.json").read_text(encoding="utf-8"))
    assert record["revision"] == default_recipe().revision
    assert [s["name"] for s in record["stages"]] == [s.name for s in default_recipe().stages]
    dense = record["evaluation"]["none"]
    assert dense["episodes"] >= 200 and dense["first_seed"] >= EVALUATION_SEED
    low, high = dense["wilson_95"]
    assert low <= dense["successes"] / dense["episodes"] <= high
    assert dense["rate"] >= 0.85


def test_unseen_episodes_succeed(policy: EmbeddedPolicy, env: Tabletop) -> None:
    results = [rollout(env, lambda im, text: policy.act(im, text).values, s) for s in SEEDS]
    assert sum(result.success for result in results) >= 3


def test_it_does_what_it_is_told_and_not_something_else(
    policy: EmbeddedPolicy, env: Tabletop
) -> None:
    results = [
        rollout(env, lambda im, text: policy.act(im, text).values, seed,
                told=sample_task(seed)[0].other_instructions()[0])
        for seed in SEEDS
    ]
    assert sum(result.success for result in results) == 0
    assert sum(result.told_success for result in results) >= 3


def test_it_needs_fresh_pictures(policy: EmbeddedPolicy, env: Tabletop) -> None:
    for seed in list(SEEDS)[:2]:
        first: list[np.ndarray] = []

        def stale(image: np.ndarray, text: str, first: list[np.ndarray] = first) -> np.ndarray:
            first.append(image)
            return policy.act(first[0], text).values

        assert not rollout(env, stale, seed).success
