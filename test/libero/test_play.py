# SPDX-License-Identifier: Apache-2.0
"""Episodes against a served policy, in a world that needs no simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test.serve.conftest import Make, make, policy, service  # noqa: F401
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.libero import play as playing
from vla_infoentropy_ros.libero.client import PolicyClient, PolicyGone
from vla_infoentropy_ros.serve.service import Answer, Client

WORDS = "open the box"


class FakeWorld:
    """Done after ``12 - task`` steps; keeps what it was shown and told."""

    shown: list[np.ndarray]
    actions: list[np.ndarray]

    def __init__(self, suite: str, task: int, rendering: str, cameras: Sequence[str]) -> None:
        self.suite, self.task, self.instruction, self.max_steps = suite, task, WORDS, 11
        self.resets: list[tuple[int, int]] = []
        FakeWorld.shown, FakeWorld.actions = [], []

    def reset_to(self, index: int, seed: int) -> None:
        self.resets.append((index, seed))
        self.steps = 0

    def other_instruction(self, seed: int) -> str:
        return "close the box"

    def render(self, camera: str) -> np.ndarray:
        self.shown.append(np.full((16, 16, 3), len(self.shown), np.uint8))
        return self.shown[-1]

    def state(self) -> np.ndarray:
        return np.linspace(0.0, 0.1, 8) * len(self.actions)

    def step(self, action: np.ndarray) -> bool:
        self.actions.append(action)
        self.steps += 1
        return self.steps == 12 - self.task

    def __enter__(self) -> FakeWorld:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def url(make: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: F811
    monkeypatch.setattr(playing, "World", FakeWorld)
    yield f"ws://127.0.0.1:{make('vla-eval').port}"


def test_a_run_that_was_cut_off_goes_on(url: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    whole = list(playing.play(out, url, ["libero_object"], [0, 3], range(2)))
    assert [(each.task, each.success, each.steps) for each in whole] == [
        (0, False, 11), (0, False, 11), (3, True, 9), (3, True, 9)]
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:2]) + lines[2][:20])  # cut off in the middle of a line
    assert len(playing.finished(out)) == 2
    again = list(playing.play(out, url, ["libero_object"], [0, 3], range(2)))
    assert [(each.task, each.initial_state, each.seed) for each in again] == [
        (3, 0, 3000), (3, 1, 3001)]
    assert [each.key for each in playing.finished(out)] == [each.key for each in whole]


def test_the_gripper_is_opened_or_closed_and_nothing_between(url: str, tmp_path: Path) -> None:
    list(playing.play(tmp_path / "a", url, ["libero_object"], [3], range(1)))
    assert {action[6] for action in FakeWorld.actions} <= {-1.0, 1.0}


def test_controls_change_what_is_said_and_shown(url: str, tmp_path: Path) -> None:
    wrong, = playing.play(tmp_path / "a", url, ["libero_object"], [3], range(1),
                          "wrong_instruction")
    assert wrong.told == "close the box" and len(FakeWorld.shown) == wrong.steps
    list(playing.play(tmp_path / "b", url, ["libero_object"], [3], range(1), "stale"))
    assert len(FakeWorld.shown) == 1


@pytest.mark.parametrize("control", ["none", "stale"])
def test_a_policy_is_sent_what_it_takes(
    make: Make, url: str, policy: TinyPolicy, tmp_path: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch, control: str,
) -> None:
    """A second picture and the robot's state, where it says so; a control of sight leaves the
    robot its sense of itself."""
    taken: list[tuple[list[int], np.ndarray | None]] = []

    def act(self: Client, pictures: list[Any], told: str, stamp: Any = None, *,
            state: np.ndarray | None) -> Answer:
        taken.append(([int(each.rgb()[0, 0, 0]) for each in pictures], state))
        return Answer(np.zeros(7), 0, 0.0, 0)

    monkeypatch.setattr(Client, "act", act)
    list(playing.play(tmp_path / "a", url, ["libero_object"], [9], range(1), control))
    assert [numbers for numbers, _ in taken] == ([[0]] * 3 if control == "stale"
                                                 else [[0], [1], [2]])
    assert all(state is None for _, state in taken)
    taken.clear()
    monkeypatch.setattr(policy, "views", 2)
    monkeypatch.setattr(policy, "proprioception", "a state")
    list(playing.play(tmp_path / "b", url, ["libero_object"], [9], range(1), control))
    assert [numbers for numbers, _ in taken] == ([[0, 1]] * 3 if control == "stale"
                                                 else [[0, 1], [2, 3], [4, 5]])
    for number, (_, state) in enumerate(taken):
        assert np.allclose(state, np.linspace(0.0, 0.1, 8) * number)


def test_grain_is_a_grey_level_and_the_same_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[np.ndarray] = []
    act = PolicyClient.act
    monkeypatch.setattr(PolicyClient, "act", lambda self, seen, told, state: (
        shown.extend(seen.values()), act(self, seen, told, state))[1])
    for name in ("a", "b"):
        list(playing.play(tmp_path / name, url, ["libero_object"], [3], range(1), "grain"))
    first, again = shown[:9], shown[9:]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    for picture, drawn in zip(again, FakeWorld.shown, strict=True):
        off = picture.astype(int) - drawn
        assert set(np.unique(off)) == ({-1, 0, 1} if drawn[0, 0, 0] else {0, 1}), "never below 0"
        assert abs(off.mean()) < 0.1 or not drawn[0, 0, 0]


def test_a_server_that_is_gone_costs_no_finished_episode(
    make: Make, url: str, tmp_path: Path  # noqa: F811
) -> None:
    out = tmp_path / "out.jsonl"
    list(playing.play(out, url, ["libero_object"], [3], range(1)))
    with pytest.raises(PolicyGone, match="no policy answers"):
        list(playing.play(out, "ws://127.0.0.1:9", ["libero_object"], [3], range(2)))
    assert len(playing.finished(out)) == 1


def test_a_server_that_leaves_in_mid_episode_costs_that_episode_alone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "out.jsonl", FakeWorld.step

    def leave_in_the_second_episode(world: FakeWorld, action: np.ndarray) -> bool:
        if len(FakeWorld.actions) == 13:
            asked.pop().close()
        return step(world, action)

    asked: list[PolicyClient] = []
    monkeypatch.setattr(playing, "PolicyClient",
                        lambda url: asked.append(PolicyClient(url)) or asked[-1])
    with monkeypatch.context() as leaving:
        leaving.setattr(FakeWorld, "step", leave_in_the_second_episode)
        with pytest.raises(PolicyGone, match="the policy has left"):
            list(playing.play(out, url, ["libero_object"], [3], range(3)))
    assert [each.initial_state for each in playing.finished(out)] == [0]
    assert [each.initial_state for each in playing.play(
        out, url, ["libero_object"], [3], range(3))] == [1, 2]


def test_a_token_is_not_told() -> None:
    with pytest.raises(PolicyGone) as told:
        PolicyClient("127.0.0.1:8000?token=s3cret-s3cret")
    assert "s3cret" not in str(told.value) and "no policy answers" in str(told.value)


def test_a_refusal_says_what_the_server_said(make: Make) -> None:  # noqa: F811
    with PolicyClient(f"ws://127.0.0.1:{make('vla-eval').port}") as client, pytest.raises(
            PolicyGone, match="say what to do"):
        client.act({"agentview": np.zeros((16, 16, 3), np.uint8)}, " ")


def test_the_first_episode_of_each_task_is_filmed_and_every_film_stays(
    url: str, tmp_path: Path
) -> None:
    out, films = tmp_path / "out.jsonl", tmp_path
    list(playing.play(out, url, ["libero_object"], [0, 3], range(1), films=films))
    filmed = [path for path in films.iterdir() if path.suffix in (".mp4", ".gif")]
    assert sorted(path.stem for path in filmed) == ["libero_object-0-0", "libero_object-3-0"]
    for path in filmed:
        path.write_bytes(b"the first")
    list(playing.play(out, url, ["libero_object"], [0, 3], range(2), films=films))
    list(playing.play(out, url, ["libero_object"], [0], range(10, 11), films=films))
    assert {path.stem for path in films.iterdir()} == {
        "out", "libero_object-0-0", "libero_object-3-0", "libero_object-0-10"}
    assert all(path.read_bytes() == b"the first" for path in filmed)


@pytest.mark.parametrize(("name", "value"), [
    ("success", 2), ("success", "false"), ("task", "1"), ("initial_state", [1]), ("steps", None),
])
def test_a_line_of_another_kind_is_no_episode(
    url: str, tmp_path: Path, name: str, value: object
) -> None:
    out = tmp_path / "out.jsonl"
    (outcome,) = playing.play(out, url, ["s"], [1], range(1))
    assert playing.finished(out) == [outcome]
    out.write_text(json.dumps(asdict(outcome) | {name: value}) + "\n")
    with pytest.raises(episode_log.EpisodeLogError, match="line 1: no episode of this command"):
        playing.finished(out)


def test_the_command_counts_what_is_there_and_ends_in_a_sentence(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "new" / "log.jsonl")
    words = [out, "--url", url, "--suites", "s", "--tasks", "1", "--episodes"]
    assert playing.main([*words, "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("s 1 #0: success after 11 steps, ")
    assert said[1] == f"1 of 1 episodes in {out}"
    assert playing.main([*words, "2", "--url", "ws://127.0.0.1:1"]) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: ws://127.0.0.1:1: no policy answers (")
    assert sentence.endswith("; what is finished is kept, the same command goes on\n")
    with pytest.raises(SystemExit):
        playing.main([*words, "0"])
    assert "--first 0 --episodes 0: no initial states from 0 on" in capsys.readouterr().err
