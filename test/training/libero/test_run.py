# SPDX-License-Identifier: Apache-2.0
"""Training on made-up shards: it learns, it goes on where it stopped, its weights load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_infoentropy_ros.libero.shards import Shard, compress
from vla_infoentropy_ros.libero.suites import INSTRUCTIONS
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.embedded import Architecture, EmbeddedPolicy
from vla_infoentropy_ros.selftest import example_instruction, run_selftest
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.training.libero.pictures import Pictures, ShardError
from vla_infoentropy_ros.training.libero.recipe import Recipe
from vla_infoentropy_ros.training.libero.train import RunError, Trainer

SMALL = Architecture(stem_width=4, vision_width=16, vision_blocks=1, vision_heads=2, vision_ff=16,
                     projector_width=16, width=16, layers=2, heads=2, ff=32)
RECIPE = Recipe(steps=40, batch=4, warmup=5, rescan=10, rate=1e-2, average=0.9, architecture=SMALL)


def untrained() -> EmbeddedPolicy:
    """Random weights, of which the head's keep to the actions: a word is no action."""
    policy = EmbeddedPolicy(RECIPE.policy_config("made-up"))
    with torch.no_grad():
        policy.decoder.lm_head.weight[: policy.codec.vocab_size - policy.codec.bins] = 0.0
    return policy


def shard(path: Path, texts: list[str], count: int = 6, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    made = Shard(texts, ["a_1", "b_1"], np.array([[0, 1]] * len(texts)))
    for _ in range(count):
        made.pictures.append(compress(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)))
        made.labels.append(np.tile([0.5, -1.0, 0.2, 0, 0, 0, 1.0], (len(texts), 1)))
        made.points.append(rng.uniform(-0.2, 0.2, (3, 3)))
        made.pixels.append(rng.uniform(0, 1, (3, 2)))
        made.held.append(rng.random(2) < 0.5)
    made.write(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    shard(folder / "libero_object-0-000.npz", list(INSTRUCTIONS[:3]))
    shard(folder / "libero_spatial-0-000.npz", [INSTRUCTIONS[14]], seed=1)
    return folder


def test_a_run_learns_and_its_policy_acts(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, data, tmp_path / "out", "made-up")
    first = np.mean([trainer.update()["action"] for _ in range(3)])
    trainer.run()
    last = np.mean([trainer.update()["action"] for _ in range(3)])
    assert last < 0.7 * first
    policy = EmbeddedPolicy.load(tmp_path / "out")
    action = policy.act(np.zeros((256, 256, 3), np.uint8), INSTRUCTIONS[14])
    written = ActionForm("osc_pose", policy.convention).write(action)
    assert (np.abs(written) <= 1.0).all() and abs(written[6]) == 1.0


def test_a_stopped_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=8)
    whole = Trainer(recipe, data, tmp_path / "whole", "made-up")
    whole.run()
    stopped = Trainer(recipe, data, tmp_path / "half", "made-up")
    for _ in range(4):
        stopped.update()
        stopped.step += 1
    stopped.save()
    resumed = Trainer(recipe, data, tmp_path / "half", "made-up")
    resumed.run()
    for one, two in zip(whole.average.parameters(), resumed.average.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_places_move_along_with_a_shifted_picture(data: Path) -> None:
    batch = Pictures(data, lambda text: torch.zeros(3, dtype=torch.int64)).batch(
        torch.Generator().manual_seed(1), 8, 2)
    spot = (batch.hand.clamp(0.2, 0.8) * 224).floor()  # a white pixel where the hand is
    for image, (column, row) in zip(batch.images, spot.long(), strict=True):
        image[:] = 0
        image[row, column] = 255
    marked = replace(batch, hand=(spot + 0.5) / 224)
    moved = marked.shifted(8, torch.Generator().manual_seed(2))
    assert (moved.hand - marked.hand).abs().max() > 3 / 224
    for image, hand in zip(moved.images, moved.hand, strict=True):
        row, column = image[..., 0].nonzero()[0].tolist()
        assert [column, row] == (hand * 224).floor().tolist()
    by = moved.hand - marked.hand
    assert torch.allclose(moved.patches - marked.patches, by[:, None, None].expand(8, 2, 2, 2),
                          atol=1e-6)
    assert torch.equal(moved.offsets, marked.offsets)


def test_a_state_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    Trainer(RECIPE, data, tmp_path / "out", "made-up").save()
    with pytest.raises(RunError, match="of another recipe"):
        Trainer(replace(RECIPE, rate=1e-4), data, tmp_path / "out", "made-up").run()
    with pytest.raises(PolicyError, match=r"device='cuda:99': torch .* sees"):
        Trainer(RECIPE, data, tmp_path / "out", "made-up", "cuda:99")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no shards"):
        Trainer(RECIPE, tmp_path / "empty", tmp_path / "out", "made-up")


def test_a_run_may_begin_with_the_weights_of_another(data: Path, tmp_path: Path) -> None:
    first = Trainer(RECIPE, data, tmp_path / "first", "made-up")
    first.save()
    again = Trainer(replace(RECIPE, seed=12), data, tmp_path / "second", "made-up-2",
                    begin=tmp_path / "first")
    for one, two in zip(first.average.parameters(), again.policy.network.parameters(),
                        strict=True):
        assert torch.allclose(one, two, atol=1e-3)  # kept in half precision
    again.save()
    with pytest.raises(RunError, match=r"with sha256-\w+, not with nothing: give the --begin"):
        Trainer(replace(RECIPE, seed=12), data, tmp_path / "second", "made-up-2").run()
    assert again.record["began_with"] == EmbeddedPolicy.load(tmp_path / "first").revision
    other = replace(RECIPE, architecture=replace(SMALL, layers=1))
    with pytest.raises(RunError, match="another size"):
        Trainer(other, data, tmp_path / "third", "made-up", begin=tmp_path / "first")


def test_every_goal_has_the_same_loss_alone_and_beside_a_longer_one(data: Path,
                                                                   tmp_path: Path) -> None:
    """Padding must not matter: suffixes of different length are packed behind one picture."""
    trainer = Trainer(RECIPE, data, tmp_path / "out", "made-up")
    trainer.policy.network.eval()
    batch = trainer.pictures.batch(torch.Generator().manual_seed(3), 3, 1)
    padded = replace(batch, prompts=torch.nn.functional.pad(batch.prompts, (0, 9)))
    trainer.generator.manual_seed(1)
    one, _ = trainer._loss(batch, None)
    trainer.generator.manual_seed(1)
    two, _ = trainer._loss(padded, None)
    assert float(two.detach()) == pytest.approx(float(one.detach()), rel=1e-4)


def test_new_shards_are_found_and_a_damaged_one_is_named(data: Path) -> None:
    pictures = Pictures(data, lambda text: torch.arange(len(text.split())))
    assert len(pictures) == 12
    shard(data / "libero_object-1-000.npz", [INSTRUCTIONS[5]], count=2)
    assert pictures.scan() == 2 and pictures.scan() == 0
    (data / "libero_object-2-000.npz").write_bytes(b"PK nothing")
    with pytest.raises(ShardError, match="libero_object-2-000"):
        pictures.scan()


def test_the_gripper_opens_with_one(data: Path) -> None:
    pictures = Pictures(data, lambda text: torch.arange(len(text.split())))
    batch = pictures.batch(torch.Generator(), 5, 2)
    assert (batch.targets[..., 6] == -1.0).all()  # collected as 1, which closes there
    assert batch.prompts.shape[:2] == (5, 2) and batch.offsets.shape == (5, 2, 2, 3)


def test_the_self_test_knows_what_to_tell_it_and_finds_its_actions_sane() -> None:
    # A policy of whole words knows no others, and a server refuses what fails its self-test.
    policy = untrained()
    assert example_instruction(policy) in INSTRUCTIONS
    checks = {check.name: check for check in run_selftest(policy).checks}
    assert checks["action"].passed and checks["increments"].passed and checks["gripper"].passed
