# SPDX-License-Identifier: Apache-2.0
"""Episodes: what disturbs the camera, who is compared with whom, and going on after a stop."""

from __future__ import annotations

import json
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from vla_infoentropy_ros import bench
from vla_infoentropy_ros.bench import episodes
from vla_infoentropy_ros.bench.conditions import CONDITIONS, disturbed, unchanged


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(60, 180, (14, 14, 3)), np.ones((16, 16, 1))).astype(np.uint8)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_disturbance_is_drawn_by_seed_and_step(picture, condition):
    before = picture.copy()
    seen = disturbed(picture, condition, 7, 3)
    assert seen.shape == picture.shape and seen.dtype == np.uint8
    assert (seen == disturbed(picture, condition, 7, 3)).all() and (picture == before).all()
    others = [disturbed(picture, condition, 7, step) for step in range(4, 8)]
    drawn = condition not in ("clean", "jpeg 60")
    assert any((other != seen).any() for other in others) == drawn
    assert (seen != picture).any() == (condition != "clean")


def test_disturbances_are_as_large_as_they_say(picture):
    inner = (slice(20, -20), slice(20, -20))
    error = disturbed(picture, "noise 10", 0, 0)[inner].astype(float) - picture[inner]
    assert error.std() == pytest.approx(10, rel=0.02)
    gains = [disturbed(picture, "exposure 7 %", 0, step).mean() / picture.mean()
             for step in range(50)]
    assert 0.92 < min(gains) < 0.95 and 1.05 < max(gains) < 1.08
    places = set()
    for step in range(60):
        moved = disturbed(picture, "shake 2 px", 0, step)
        places |= {(down, right) for down in range(5) for right in range(5)
                   if (moved[inner] == picture[18 + down : -22 + down or None,
                                               18 + right : -22 + right or None]).all()}
    assert len(places) > 15


def test_rows_are_held_against_dense_under_their_own_disturbance():
    for name, row in episodes.ROWS.items():
        beside = episodes.ROWS[episodes._dense_beside(name)]
        assert beside.variant == "dense" and beside.condition == row.condition


@pytest.fixture
def played(monkeypatch):
    """Jobs in the order in which they are played, in no time: dense always succeeds."""
    jobs_played = []

    class Pool:
        def __init__(self, *_, **__): ...
        def __enter__(self): return self
        def __exit__(self, *_): ...

        def map(self, _, jobs):
            for job in jobs:
                jobs_played.append(job)
                steps = 10 if job.row == "dense" else 11 + job.seed % 2
                yield episodes.Outcome(job.instructions * (job.row == "dense"), steps, 48.0, 2.5)

    monkeypatch.setattr(episodes, "ProcessPoolExecutor", Pool)
    return jobs_played


def test_a_run_goes_on_where_its_log_ends(tmp_path, played):
    log, out = tmp_path / "episodes.jsonl", tmp_path / "table.json"
    rows = ["dense", "attention_drift 48"]
    for count in (2, 3):
        episodes.main(["--episodes", str(count), "--rows", *rows, "--log", str(log),
                       "--out", str(out)])
    assert len(played) == len(set(played)) == 6
    table = json.loads(out.read_text())["rows"]
    assert (table["dense"]["successes"], table["dense"]["episodes"]) == (3, 3)
    assert table["attention_drift 48"]["lost_against_dense"] == 3
    assert table["attention_drift 48"]["steps_beyond_dense_ci95"] == pytest.approx(
        [0.680, 1.987], abs=1e-3)  # 1, 2, 1


def test_a_log_of_one_loading_is_not_taken_for_another(tmp_path, played):
    log = tmp_path / "episodes.jsonl"
    for loaded in ([], ["--dtype", "bfloat16"], ["--gripper", "one_is_open"], []):
        episodes.main(["--episodes", "1", "--rows", "dense", "--log", str(log), *loaded])
    assert [(job.load.dtype, job.load.gripper) for job in played] == [
        ("float32", ""), ("bfloat16", ""), ("float32", "one_is_open")]
    keys = [json.loads(json.loads(line)[0]) for line in log.read_text().splitlines()]
    assert "loaded" not in keys[0], "logs of before are of what is so by default"
    assert keys[1]["loaded"] == {"dtype": "bfloat16"}


def test_a_log_holds_for_the_same_bytes_however_they_are_pinned(tmp_path, played):
    log, pin = tmp_path / "episodes.jsonl", episodes.load_policy("embedded").revision
    for pinned in ([], ["--revision", pin]):
        episodes.main(["--episodes", "1", "--rows", "dense", "--log", str(log), *pinned])
    assert len(played) == 1


def test_rows_that_are_one_are_played_once(tmp_path, played):
    out = tmp_path / "table.json"
    rows = ["attention_drift", "attention_drift 64", "dense", "dense"]
    episodes.main(["--episodes", "2", "--rows", *rows, "--out", str(out)])
    assert len(played) == 4
    table = json.loads(out.read_text())["rows"]
    assert list(table) == rows[:3]
    assert table["attention_drift"]["steps_mean"] == table["attention_drift 64"]["steps_mean"]


@pytest.mark.parametrize("logged", [True, False])
def test_a_worker_that_died_is_one_sentence(tmp_path, monkeypatch, played, capsys, logged):
    def died(*_):
        raise BrokenProcessPool("abruptly")
        yield

    monkeypatch.setattr(episodes.ProcessPoolExecutor, "map", died)
    log = tmp_path / "log"
    code = bench.main(["episodes", "--episodes", "1", "--rows", "dense",
                       *(["--log", str(log)] if logged else [])])
    told = capsys.readouterr().err.splitlines()[-1]
    assert code == 1 and told.startswith("error: a worker process died")
    assert (f"is kept in {log}, the same command goes on" in told) == logged
    assert ("with --log what is finished would have been kept" in told) != logged


def test_passes_are_told(tmp_path, played, capsys):
    out = tmp_path / "table.json"
    episodes.main(["--episodes", "2", "--rows", "dense", "--out", str(out)])
    assert json.loads(out.read_text())["rows"]["dense"]["passes_mean"] == 2.5
    assert "2.50" in capsys.readouterr().out.splitlines()[1]


def test_a_log_of_single_instructions_is_not_taken_for_a_long_horizon(tmp_path, played, capsys):
    log, out = tmp_path / "episodes.jsonl", tmp_path / "table.json"
    for instructions in ("1", "3", "3"):
        episodes.main(["--episodes", "2", "--rows", "dense", "--log", str(log), "--out", str(out),
                       "--instructions", instructions])
    assert [job.instructions for job in played] == [1, 1, 3, 3]
    assert json.loads(out.read_text())["rows"]["dense"]["solved"] == [2, 2, 2]
    assert "by instruction [2, 2, 2]" in capsys.readouterr().out


def test_a_scheduler_gets_the_same_jobs_with_the_policy_pinned(tmp_path, monkeypatch):
    given = []

    def spread(scheduler, work, jobs, name):
        given.extend(jobs)
        assert (scheduler, work) == ("tcp://there:1", episodes._play)
        assert name(given[0]) == "dense: seed 1000000"
        for job in jobs[::-1]:
            yield job, episodes.Outcome(1, job.seed - 999_990, 48.0, 2.5)

    monkeypatch.setattr(episodes, "spread", spread)
    log, out = tmp_path / "episodes.jsonl", tmp_path / "table.json"
    for _ in range(2):
        episodes.main(["--episodes", "3", "--rows", "dense", "--log", str(log), "--out", str(out),
                       "--scheduler", "tcp://there:1"])
    assert [job.seed for job in given] == [1_000_000, 1_000_001, 1_000_002]
    assert {job.load.revision for job in given} == {episodes.load_policy("embedded").revision}
    assert json.loads(out.read_text())["rows"]["dense"]["steps_mean"] == 11


def test_the_static_test_loses_a_noisy_picture_and_block_means_keep_it(picture):
    still = [np.clip(picture, 60, 180)] * 3
    assert (unchanged(still, "clean", 0) == 256).all()
    noisy = unchanged(still, "noise 20", 0).mean(0)
    assert noisy[0] < 40 and noisy[2] > 200  # single pixels, means of 4 x 4
