# SPDX-License-Identifier: Apache-2.0
"""What is collected, without the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_infoentropy_ros.libero import collect
from vla_infoentropy_ros.libero.client import PolicyGone
from vla_infoentropy_ros.libero.expert import Body, Scene
from vla_infoentropy_ros.libero.goals import Goal
from vla_infoentropy_ros.libero.shards import Shard
from vla_infoentropy_ros.libero.suites import SuiteError


def raising(error: Exception) -> Callable[..., object]:
    """Something that raises it when it is called."""
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that collection would make."""
    names: list[str] = []
    monkeypatch.setattr(collect, "collect_shard", lambda path, *_: names.append(path.name))
    return names


def test_processes_share_the_shards_and_each_has_both_suites(tmp_path: Path,
                                                             asked: list[str]) -> None:
    each = []
    for part in range(3):
        collect.main([str(tmp_path), "--rounds", "3", "--part", str(part), "3"])
        each.append(set(asked))
        asked.clear()
    assert sum(map(len, each)) == len(set.union(*each)) == 60
    assert all(len({name.split("-")[0] for name in names}) == 2 for names in each)


def test_what_is_there_is_not_made_again_and_time_ends_it(tmp_path: Path,
                                                          asked: list[str]) -> None:
    (tmp_path / "libero_object-0-000.npz").touch()
    collect.main([str(tmp_path), "--rounds", "1"])
    assert len(asked) == 19 and "libero_object-0-000.npz" not in asked
    asked.clear()
    collect.main([str(tmp_path), "--rounds", "1", "--seconds", "0"])
    assert asked == []


def test_where_it_cannot_go_on_it_says_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collect, "World", raising(SuiteError("LIBERO is not installed here")))
    assert collect.main([str(tmp_path), "--rounds", "1"]) == 1
    assert capsys.readouterr().err == ("error: LIBERO is not installed here; what is finished is "
                                       "kept, the same command goes on\n")
    monkeypatch.setattr(collect, "PolicyClient", raising(PolicyGone("ws://x: no policy answers")))
    assert collect.main([str(tmp_path), "--url", "ws://x"]) == 1
    assert capsys.readouterr().err.startswith("error: ws://x: no policy answers; ")


@pytest.mark.parametrize(("words", "told"), [
    (["--part", "3", "3"], "--part 3 3: K must be one of 0 to N - 1"),
    (["--frames", "0"], "--frames = 0: must be >= 1"),
    (["--rounds", "0"], "--first 0 --rounds 0: no rounds from 0 on"),
    (["--first", "-1"], "--first -1 --rounds 12: no rounds from 0 on"),
])
def test_what_would_collect_nothing_is_refused(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str], words: list[str],
    told: str,
) -> None:
    with pytest.raises(SystemExit):
        collect.main([str(tmp_path), *words])
    assert capsys.readouterr().err.endswith(f"error: {told}\n") and not asked


class Room:
    """A world that nothing moves in but what is scattered: a box far from the hand, a basket."""

    max_steps = 30

    def __init__(self) -> None:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)]) * 0.03
        places = {"box_1": np.array([0.2, -0.1, 0.0]), "basket_1": np.array([0.0, 0.2, 0.0])}
        self.bodies = {name: Body.around(corners + place) for name, place in places.items()}
        self.goals = [Goal("put it there", "box_1", "basket_1")]

    def scene(self) -> Scene:
        return Scene(np.array([0.0, 0.0, 0.2]), self.bodies, frozenset(), 0.0)

    @contextmanager
    def scattered(self, rng: np.random.Generator, most: float) -> Iterator[Scene]:
        kept = self.bodies
        self.bodies = {name: body.moved(rng.uniform(-most, most, 2))
                       for name, body in kept.items()}
        yield self.scene()
        self.bodies = kept

    def render(self) -> np.ndarray:
        return np.full((256, 256, 3), 128, np.uint8)

    def project(self, points: np.ndarray) -> np.ndarray:
        return points[:, :2]

    def step(self, action: np.ndarray) -> bool:
        return False


@pytest.mark.parametrize("layouts", [0, 3])
def test_every_recorded_step_is_seen_in_other_layouts_too(layouts: int) -> None:
    how = collect.Collecting(frames=16, far=1.0, near=1.0, noisy=0.0, layouts=layouts)
    shard = Shard(["put it there"], ["basket_1", "box_1"], np.array([[1, 0]]))
    room = Room()
    collect.Episode(room, room.goals[0], np.random.default_rng(1), how).run(shard, None)
    assert len(shard) == 16
    points = np.array(shard.points)
    assert len(np.unique(points[:, 0, 0])) == (13 if layouts else 1)
    assert (points[:, 2] == points[0, 2]).all()  # the hand is where it was
    steps = np.abs(points - points[0])[:, :2]
    assert steps.max() <= collect.SCATTER_M and (steps[0 :: 1 + layouts] == 0.0).all()
    towards = np.sign(points[:, 1] - points[:, 2])[:, :2]
    assert (np.sign(np.array(shard.labels)[:, 0, :1]) == towards[:, :1]).all()


class Learner:
    """A policy elsewhere, which looks at one picture unless told otherwise."""

    cameras, wants_state = ("agentview",), False

    def __init__(self, url: str = "") -> None:
        self.heard: list[str] = []

    def begin(self, instruction: str) -> None:
        self.heard.append(f"begin {instruction}")

    def act(self, pictures: dict[str, np.ndarray], instruction: str) -> np.ndarray:
        self.heard.append("act")
        return np.zeros(7)

    def __enter__(self) -> Learner:
        return self

    def __exit__(self, *error: object) -> None:
        self.heard.append("closed")


def test_each_stretch_of_a_learner_is_an_episode_of_its_own() -> None:
    shard, room = Shard(["put it there"], ["basket_1", "box_1"], np.array([[1, 0]])), Room()
    how = collect.Collecting(far=0.1, near=0.1, layouts=0, expert=0.0)
    learner = Learner()
    collect.Episode(room, room.goals[0], np.random.default_rng(1), how).run(shard, learner)
    assert learner.heard == (["begin put it there"] + 15 * ["act"]) * 2


def test_a_learner_of_more_than_the_shards_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(collect, "PolicyClient", Learner)
    assert collect.main([str(tmp_path), "--rounds", "1", "--url", "ws://x"]) == 0
    assert len(asked) == 20
    monkeypatch.setattr(Learner, "wants_state", True)
    assert collect.main([str(tmp_path), "--rounds", "1", "--url", "ws://x"]) == 1
    told = capsys.readouterr().err
    assert "ws://x: this policy looks at agentview, and takes the state; shards hold" in told


def test_a_drive_that_begins_too_late_ends_with_one_picture() -> None:
    shard, room = Shard(["put it there"], ["basket_1", "box_1"], np.array([[1, 0]])), Room()
    how = collect.Collecting(far=1.0, near=1.0, layouts=0)
    collect.Episode(room, room.goals[0], np.random.default_rng(1), how).run(shard, None, until=0.0)
    assert len(shard) == 1


@pytest.mark.parametrize(("name", "value"), [
    ("frames", 0), ("layouts", -1), ("own", 1.5), ("near", -0.1)])
def test_a_share_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        replace(collect.Collecting(), **{name: value})
