# SPDX-License-Identifier: Apache-2.0
"""`bench episodes --instructions`: what follows what, what a new instruction does to the cache, and
how it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_infoentropy_ros.bench import episodes
from vla_infoentropy_ros.bench.episodes import Job, Outcome
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.sim import EVALUATION_SEED, Tabletop
from vla_infoentropy_ros.sim.tasks import sample_task

SEED = EVALUATION_SEED


class ByExpert:
    """A session that hears the first ``hears`` instructions, and the last of them for ever."""

    def __init__(self, table: Tabletop, hears: int) -> None:
        self.table, self.hears, self.given = table, hears, []

    def set_instruction(self, text: str) -> None:
        self.given.append(text)

    def step(self, images: list[np.ndarray]) -> Any:
        action = self.table.expert(self.given[: self.hears][-1])
        return SimpleNamespace(action=SimpleNamespace(chunk=[action]),
                               report=SimpleNamespace(fresh=256), decoder_passes=7)


@pytest.fixture
def tables() -> Iterator[dict[str, Any]]:
    """What a worker process has made once."""
    with Tabletop() as table:
        policy = load_policy("embedded", LoadOptions())
        episodes._tables.update(of=("embedded", LoadOptions()), policy=policy, table=table)
        yield episodes._tables
    episodes._tables.clear()


def job(row: str, instructions: int, seed: int = SEED) -> Job:
    return Job(row, seed, "embedded", LoadOptions(), 1, instructions)


@pytest.mark.parametrize("instructions", [2, 3])
def test_the_expert_carries_out_each_where_the_last_one_ended(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, instructions: int
) -> None:
    monkeypatch.setattr(Tabletop, "render", lambda self: np.zeros((8, 8, 3), np.uint8))
    for seed in range(SEED, SEED + 5):
        session = ByExpert(tables["table"], instructions)
        monkeypatch.setattr(episodes.Row, "session", lambda *_: session)  # noqa: B023
        played = episodes._play(job("dense", instructions, seed))
        assert played.solved == instructions and played.steps <= 32 * instructions
        assert tuple(session.given) == sample_task(seed)[0].in_a_row(instructions)


def test_who_does_not_hear_the_second_instruction_has_solved_one(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tabletop, "render", lambda self: np.zeros((8, 8, 3), np.uint8))
    session = ByExpert(tables["table"], hears=1)
    monkeypatch.setattr(episodes.Row, "session", lambda *_: session)
    played = episodes._play(job("dense", 3))
    assert played.solved == 1 and len(session.given) == 2  # the third is never given
    assert played.steps == episodes._play(job("dense", 1)).steps + Tabletop.max_steps


def test_a_new_instruction_is_answered_as_by_a_session_that_has_seen_nothing(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any, str]] = []
    step = episodes.Session.step

    def watched(session: episodes.Session, images: list[np.ndarray]) -> Any:
        result = step(session, images)
        seen.append((images[0].copy(), result, session.instruction))
        return result

    monkeypatch.setattr(episodes.Session, "step", watched)
    played = episodes._play(job("attention_drift 48 window", 2))
    monkeypatch.undo()
    first, second = sample_task(SEED)[0].in_a_row(2)
    changes = [at for at, (_, result, _) in enumerate(seen) if result.t == 0]
    assert played.solved == 2 and [seen[at][2] for at in changes] == [first, second]
    picture, result, _ = seen[changes[1]]
    assert result.invalidated == "instruction_changed" and result.report.fresh == 256
    dense = episodes.row_of("dense").session(tables["policy"])
    dense.set_instruction(second)
    np.testing.assert_array_equal(result.action.chunk, dense.step([picture]).action.chunk)
    assert all(each.report.fresh == 48 for at, (_, each, _) in enumerate(seen)
               if at not in changes)
    assert played.fresh == pytest.approx((48 * (len(seen) - 2) + 256) / (len(seen) - 1))


def test_equal_seeds_are_played_alike_under_noise_too(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    step = episodes.Session.step

    def watched(session: episodes.Session, images: list[np.ndarray]) -> Any:
        result = step(session, images)
        seen.append((images[0].copy(), result.action.chunk))
        return result

    monkeypatch.setattr(episodes.Session, "step", watched)
    monkeypatch.setattr(Tabletop, "max_steps", 3)
    for row in ("attention_drift 48, noise 10",) * 2 + ("attention_drift 48",):
        episodes._play(job(row, 1))
    first, again, still = seen[:3], seen[3:6], seen[6:]
    for (picture, chunk), (second, decided), (plain, _) in zip(first, again, still, strict=True):
        np.testing.assert_array_equal(picture, second)
        np.testing.assert_array_equal(chunk, decided)
        assert (picture != plain).any(), "there is noise"


def test_success_is_all_of_them_and_each_is_counted() -> None:
    dense = [Outcome(2, 30, 256.0, 7.0), Outcome(2, 30, 256.0, 7.0), Outcome(1, 60, 256.0, 7.0)]
    ours = [Outcome(2, 30, 48.0, 2.5), Outcome(1, 60, 48.0, 2.5), Outcome(0, 40, 48.0, 2.5)]
    figures = episodes._figures(ours, dense, 2)
    assert figures["passes_mean"] == 2.5
    assert figures["successes"] == 1 and figures["solved"] == [2, 1]
    assert (figures["won_against_dense"], figures["lost_against_dense"]) == (0, 1)
    assert "solved" not in episodes._figures(ours[1:], None, 1)


def test_a_worker_that_outlives_a_run_does_not_play_its_policy(
    tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(episodes, "load_policy", lambda model, load: asked.append(model))
    with pytest.raises(AttributeError):  # of a policy that is None here
        episodes._play(job("dense", 1)._replace(model="another"))
    assert asked == ["another"]
