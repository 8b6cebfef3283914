# SPDX-License-Identifier: Apache-2.0
"""Training of flow policies in miniature: labels, a run with a break, weights that load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.sim.tabletop import Tabletop
from vla_infoentropy_ros.training import __main__ as training
from vla_infoentropy_ros.training import chunks, flow
from vla_infoentropy_ros.training.chunks import Chunks, collect_shard, expert_chunk
from vla_infoentropy_ros.training.flow import FlowRecipe, FlowStage, FlowTrainer, Pace

STAGES = (FlowStage("some", 2, 40, 0.5, (1e-3, 1e-3)),
          FlowStage("all", 2, 40, 1.0, (1e-3, 1e-4)))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of twelve pictures."""
    folder, policy = tmp_path_factory.mktemp("frames"), EmbeddedPolicy.load()
    for index in range(2):
        collect_shard(policy, index, 12).write(folder / f"shard_{index:04d}")
    return folder


def recipe_of(sees: str = "prefix", start: str = "random") -> FlowRecipe:
    return FlowRecipe("miniature", sees, start, STAGES, batch=3, warmup_steps=2)


def test_the_experts_chunk_is_what_it_does_next_and_the_scene_stays() -> None:
    with Tabletop() as env:
        task = env.reset(5)
        for _ in range(3):
            env.step(env.expert())
        before, hand = env.render().copy(), env.state.hand
        said = expert_chunk(env, task.instruction)
        assert np.array_equal(env.render(), before) and np.array_equal(env.state.hand, hand)
        done = []
        for _ in range(chunks.HORIZON):
            done.append(env.expert())
            env.step(done[-1])
    np.testing.assert_allclose(said, np.stack(done), atol=1e-6)
    assert np.abs(said[1] - said[0]).max() > 1e-4


def test_shards_hold_what_the_policy_sees(frames: Path) -> None:
    shard = Chunks.open(chunks.shards(frames)[0])
    assert len(shard) == 12
    assert shard.embeddings.shape == (12, 256, 192) and shard.contrast.shape == (12, 256)
    assert shard.labels.shape == (12, 2, chunks.HORIZON, 7)
    assert len({tuple(goal) for goal in shard.goals[0].tolist()}) == 2
    again = collect_shard(EmbeddedPolicy.load(), 0, 12)
    assert np.array_equal(again.labels, shard.labels)


@pytest.mark.parametrize(("sees", "start"), [("prefix", "random"), ("images", "shipped")])
def test_a_run_writes_a_policy_that_acts(
    frames: Path, tmp_path: Path, sees: str, start: str
) -> None:
    FlowTrainer(recipe_of(sees, start), frames, tmp_path / "weights", tmp_path / "state.pt").run()
    record = json.loads((tmp_path / "weights" / "training.json").read_text())
    assert record["history"][-1]["step"] == 4 and record["history"][-1]["first_mm"] > 0
    policy = load_policy(str(tmp_path / "weights"), LoadOptions())
    assert policy.name == "embedded flow"
    session = Session(policy, build_selector("attention_drift"))
    with Tabletop() as env:
        session.set_instruction(env.reset(0).instruction)
        for _ in range(2):
            result = session.step([env.render()])
    assert result.action.chunk.shape == (chunks.HORIZON, 7) and result.report.reused > 0
    assert np.abs(result.action.values[:3]).max() <= 0.035 + 1e-9


def test_a_run_with_a_break_is_the_run_without(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "STORE_EVERY", 2)
    whole = FlowTrainer(recipe_of(), frames, tmp_path / "a", tmp_path / "a.pt")
    whole.run()
    first = FlowTrainer(recipe_of(), frames, tmp_path / "b", tmp_path / "b.pt")
    first.recipe = replace(first.recipe, stages=STAGES[:1])
    first.run()
    second = FlowTrainer(recipe_of(), frames, tmp_path / "b", tmp_path / "b.pt")
    assert second.step == 2
    second.run()
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, second.network.state_dict()[name]), name


def test_eyes_stay_and_the_rest_learns(frames: Path, tmp_path: Path) -> None:
    trainer = FlowTrainer(recipe_of(), frames, tmp_path / "w", tmp_path / "s.pt")
    trainer.pool.look()
    before = {name: weight.clone() for name, weight in trainer.network.state_dict().items()}
    first = np.mean([float(trainer._update(0)) for _ in range(2)])
    longer = replace(STAGES[0], steps=60, rate=(3e-3, 3e-3))
    trainer.recipe = replace(trainer.recipe, stages=(longer,))
    for _ in range(40):
        trainer.step += 1
        last = float(trainer._update(trainer.step))
    assert last < 0.7 * first
    after = trainer.network.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "expert"}


def test_a_short_time_compresses_the_recipe() -> None:
    now = 100.0
    pace = Pace(1000, 200, 50.0, clock=lambda: now)
    assert pace.place(200) == 200
    now = 125.0
    assert pace.place(250) == 600  # half of the time, half of what was left
    assert pace.place(700) == 700  # faster than time asks for
    now = 200.0
    assert pace.place(800) == 1000
    assert Pace(1000, 0, None).place(7) == 7


def test_a_run_ends_in_time_with_the_last_stage(frames: Path, tmp_path: Path) -> None:
    recipe = replace(recipe_of(), stages=tuple(replace(s, steps=10**6) for s in STAGES))
    trainer = FlowTrainer(recipe, frames, tmp_path / "w", tmp_path / "s.pt")
    trainer.run(seconds=2.0)
    assert 1 < trainer.step < 1000
    assert trainer.history[-1]["stage"] == "all"
    assert trainer.optimiser.param_groups[0]["lr"] < 5e-4


def test_a_device_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["frames"], ["flow", "whole", "--weights", "w", "--state", "s"]):
        code = training.main([*command, "--frames", str(tmp_path), "--device", "cuda:99"])
        assert code == 1 and "cuda:99" in capsys.readouterr().err


def test_recipes_are_checked() -> None:
    with pytest.raises(ValueError, match="keep = 300"):
        FlowStage("x", 1, 300, 0.0, (1e-3, 1e-3))
    with pytest.raises(ValueError, match="start = 'x'"):
        replace(recipe_of(), start="x")
    with pytest.raises(ValueError, match="place = 4"):
        recipe_of().at(4)
