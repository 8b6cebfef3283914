# SPDX-License-Identifier: Apache-2.0
"""The flow policies that come with the package: they fit their recipes, and they work."""

from __future__ import annotations

import json

import pytest

from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import SHIPPED, load_policy
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.sim import EVALUATION_SEED, Tabletop
from vla_infoentropy_ros.training.flow import RECIPES

RECIPE_OF = {"embedded_flow": "whole", "embedded_flow_images": "images"}


@pytest.mark.parametrize("name", RECIPE_OF)
def test_files_are_those_of_the_recipe(name: str) -> None:
    policy, recipe = load_policy(name, LoadOptions()), RECIPES[RECIPE_OF[name]]
    assert isinstance(policy, EmbeddedFlowPolicy) and policy.flow.expert.sees == recipe.sees
    record = json.loads((SHIPPED[name] / "training.json").read_text(encoding="utf-8"))
    assert record["revision"] == recipe.revision == policy.config.revision
    assert record["history"][-1]["first_mm"] < 2.0
    assert (SHIPPED[name] / "policy.safetensors").stat().st_size < 10e6


@pytest.mark.parametrize(
    ("name", "settings"),
    [("embedded_flow", SelectionSettings(fresh_tokens=48)),
     ("embedded_flow_images", SelectionSettings(fresh_tokens=64, keyframe_every=4))],
)
def test_unseen_episodes_succeed_with_reuse(name: str, settings: SelectionSettings) -> None:
    policy = load_policy(name, LoadOptions())
    session = Session(policy, build_selector("attention_drift", settings=settings))
    won, reused = 0, 0
    with Tabletop() as env:
        for seed in range(EVALUATION_SEED + 5_000, EVALUATION_SEED + 5_002):
            session.reset("new_episode")
            session.set_instruction(env.reset(seed).instruction)
            for _ in range(env.max_steps):
                if env.success():
                    break
                result = session.step([env.render()])
                reused += result.report.reused
                env.step(result.action.values)
            won += env.success()
    assert won == 2 and reused > 1000
