# SPDX-License-Identifier: Apache-2.0
"""The whole path from nothing to a checked policy, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_infoentropy_ros.models.embedded import Architecture, EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.weights_file import SHIPPED
from vla_infoentropy_ros.sim import EVALUATION_SEED, Tabletop
from vla_infoentropy_ros.sim.expert import expert_action
from vla_infoentropy_ros.sim.tasks import Goal
from vla_infoentropy_ros.training import train
from vla_infoentropy_ros.training.__main__ import main
from vla_infoentropy_ros.training.collect import CollectJob, collect
from vla_infoentropy_ros.training.config import Recipe, Stage, default_recipe
from vla_infoentropy_ros.training.evaluate import evaluate
from vla_infoentropy_ros.training.frames import CUBES, PLATES, Frames, patch_coordinates
from vla_infoentropy_ros.training.train import CHECK_SEED, Trainer

SMALL = Architecture(
    stem_width=4, vision_width=16, vision_heads=2, vision_ff=16, projector_width=16, width=24,
    layers=2, heads=2, ff=32,
)


def _recipe(steps: int = 2) -> Recipe:
    return Recipe(
        revision="miniature",
        architecture=SMALL,
        capacity=30,
        workers=1,
        threads=1,
        stages=(
            Stage("vision", steps, 4, 0, (1e-3, 1e-3), collect=20),
            Stage("some", steps, 4, 40, (1e-3, 1e-3), goals=2),
            Stage("all", steps, 2, 256, (1e-3, 1e-4), collect=16, dagger=True, check_episodes=1),
        ),
    )


def test_run_writes_a_policy_that_loads_and_a_record(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    Trainer(_recipe(), tmp_path).run(state)
    record = json.loads((tmp_path / "training.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["vision", "some", "all"]
    assert record["seed"] == 7 and record["machine"]["packages"]["torch"]
    assert record["stages"][2]["frames"] == 30
    check = record["stages"][2]["check"]
    assert check["episodes"] == 1 and len(check["wilson_95"]) == 2
    for stage in record["stages"]:
        assert all(np.isfinite(value) for value in stage["losses"].values())
    policy = EmbeddedPolicy.load(tmp_path)
    with Tabletop() as env:
        task = env.reset(0)
        assert np.isfinite(policy.act(env.render(), task.instruction).values).all()
    # A run that finds its state finished does nothing more.
    again = Trainer(_recipe(), tmp_path)
    again.run(state)
    assert again.record["stages"] == record["stages"]


def test_a_run_writes_over_no_weights_but_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained network is saved first, so this would cost an hour's work, or the package's."""
    trained, pictures = tmp_path / "trained" / "policy.safetensors", tmp_path / "pictures" / "1.png"
    for file in (trained, pictures):
        file.parent.mkdir()
        file.write_text("an hour's work")
    shipped = (SHIPPED / "policy.safetensors").read_bytes()
    for folder, told in ((trained.parent, "holds 'policy.safetensors'; name a new folder"),
                         (pictures.parent, "holds '1.png'; name a new folder"),
                         (SHIPPED, "come with the package")):
        assert main(["--weights", str(folder)]) == 1
        assert told in capsys.readouterr().err
    assert list(pictures.parent.iterdir()) == [pictures]
    assert trained.read_text() == "an hour's work"
    assert (SHIPPED / "policy.safetensors").read_bytes() == shipped


def test_losses_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "collect_parallel", lambda seed, count, size, *rest:
                        collect(CollectJob(seed, count, size)))  # needs no processes
    trainer = Trainer(_recipe(), tmp_path)
    trainer._collect(0, trainer.recipe.stages[0])
    torch.set_num_threads(1)
    stage = Stage("some", 60, 8, 60, (3e-3, 3e-3), goals=3)
    first = trainer._update(stage)
    last = trainer._train(stage)
    assert last["action"] < 0.8 * first["action"]


def test_collection_is_repeatable_and_labels_are_the_experts() -> None:
    one, two = (collect(CollectJob(seed=5, count=24, image_size=224, lanes=4)) for _ in range(2))
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert (one.labels[..., 3:6] == 0).all()
    assert np.isnan(one.points[:, :4, 0]).sum(axis=1).tolist() == [1] * 24  # 3 of 4 cubes
    assert np.isnan(one.points[:, 4:8, 0]).sum(axis=1).tolist() == [2] * 24  # 2 of 4 plates


def test_record_holds_the_state_it_saw() -> None:
    frames = Frames.empty(1, 224)
    with Tabletop() as env:
        task = env.reset(12)
        frames.record(0, env, env.render())
        state = env.state
        for slot, (cube, plate) in enumerate(frames.goals[0]):
            goal = Goal(CUBES[cube], PLATES[plate])
            assert goal.instruction == task.valid_instructions()[slot]
            expected = expert_action(state, goal)
            np.testing.assert_allclose(frames.labels[0, slot], expected, atol=1e-6)
        places = patch_coordinates(frames, env.camera, 224, 14)[0]
        for colour in task.cubes:
            where = places[CUBES.index(colour)]
            assert np.all(where > 0) and np.all(where < 16)


def test_seeds_of_training_checks_and_evaluation_do_not_meet() -> None:
    episodes = max(stage.check_episodes for stage in default_recipe().stages)
    assert CHECK_SEED + episodes < EVALUATION_SEED


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="keep = 300"):
        Stage("x", 1, 1, 300, (1e-3, 1e-3))
    with pytest.raises(ValueError, match="control = 'x'"):
        evaluate(None, 0, 1, 1, "x")
    with pytest.raises(ValueError, match="count = 0"):
        evaluate(None, 0, 0, 1)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_what_a_command_would_not_see_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--weights", "elsewhere", command])
    assert f"--weights stands before {command}; write it behind" in capsys.readouterr().err
