# SPDX-License-Identifier: Apache-2.0
"""Going on after a stop, and what is written; no arm in here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vla_infoentropy_ros import bench
from vla_infoentropy_ros.bench import arms, transport
from vla_infoentropy_ros.demo import measuring
from vla_infoentropy_ros.demo.launching import NodeDiedError
from vla_infoentropy_ros.report.records import EpisodeRecord, StepRecord

Run = Callable[..., tuple[int, list[tuple[str, str, int]]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``bench arms --log``, whose arm dies after ``most`` episodes: exit code, and what ran."""
    ran: list[tuple[str, str, int]] = []

    @contextmanager
    def started(arm: str, _: Any) -> Iterator[Any]:
        started.launches += 1
        yield SimpleNamespace(arm=arm, clear_fault=lambda: None)

    def episode(client: Any, variant: str, seed: int) -> EpisodeRecord:
        if len(ran) == started.most:
            raise NodeDiedError("arm_node ended")
        ran.append((client.arm, variant, seed))
        records = (StepRecord(0, 80.04, {}, ()), StepRecord(1, 40.0, {}, ()))
        return EpisodeRecord(variant, seed, "put it there", True, 40, "success", records)

    def bench_arms(most: int = 100, revision: str = "a", episodes: int = 2) -> Any:
        ran.clear()
        started.most, started.revision, started.launches = most, revision, 0
        code = bench.main([
            "arms", "--episodes", str(episodes), "--seed", "5", "--log",
            str(tmp_path / "log.jsonl"), "--json", str(tmp_path / "table.json"),
        ])
        return code, list(ran), started.launches

    monkeypatch.setattr(arms, "_started", started)
    monkeypatch.setattr(arms, "load_policy", lambda: SimpleNamespace(revision=started.revision))
    monkeypatch.setattr(measuring, "run_episode", episode)
    return bench_arms


WHOLE = [(arm, variant, seed) for arm in ("panda", "ur5") for variant, seed in (
    ("dense", 5), ("attention_drift+window", 5), ("attention_drift+window", 6), ("dense", 6))]


def test_a_run_that_was_cut_off_goes_on_where_it_stood(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(most=3) == (1, WHOLE[:3], 1)
    assert "error: arm_node ended" in capsys.readouterr().err
    assert run() == (0, WHOLE[3:], 2)
    first = (tmp_path / "table.json").read_text()
    assert run() == (0, [], 0), "nothing is launched for what is there"
    table = json.loads((tmp_path / "table.json").read_text())["arms"]
    assert table == json.loads(first)["arms"] and set(table) == {"panda", "ur5"}
    row = table["panda"]["dense"]
    assert (row["successes"], row["episodes"], row["median_ms"]) == (2, 2, 60.0)
    assert row["outcomes"][1] == {
        "seed": 6, "instruction": "put it there", "steps": 40, "reason": "success"}


@pytest.mark.parametrize("command", ["arms", "gazebo"])
@pytest.mark.parametrize(("words", "told"), [
    (["--variants", "dense", "nothing"], "'nothing' is not among dense, info_entropy"),
    (["--variants", "dense+nothing"], "decode 'nothing' is not among"),
    (["--episodes", "0"], "0 is outside 1 .."),
])
def test_what_cannot_be_run_is_said_before_anything_is_launched(
    run: Run, command: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.main([command, *words])
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("said", "again"), [("other", WHOLE[:1]), (None, [])])
def test_episodes_of_other_settings_are_not_taken_for_these(
    run: Run, tmp_path: Path, said: str | None, again: list[tuple[str, str, int]]
) -> None:
    """A log of before does not say which they are."""
    run(episodes=1)
    log = tmp_path / "log.jsonl"
    first, *rest = log.read_text().splitlines()
    changed = json.loads(first)
    assert changed.pop("settings")
    if said:
        changed["settings"] = said
    log.write_text("\n".join([json.dumps(changed), *rest, ""]))
    assert run(episodes=1)[:2] == (0, again)


def test_medians_are_medians() -> None:
    def outcome(steps: int, *latencies_ms: float, success: bool = True) -> arms.Outcome:
        return arms.Outcome("panda", "twist", "dense", 5, "a", "put", success, steps, "",
                            latencies_ms)

    row = arms._row([outcome(10, 1.0, 2.0), outcome(21, 4.0, 5.0), outcome(40, success=False)])
    assert (row["median_steps"], row["median_ms"]) == (15.5, 3.0)
    lost = arms._row([outcome(40, success=False)])
    assert lost["median_steps"] is lost["median_ms"] is None
    figures = transport._figures(SimpleNamespace(
        width=4, height=4, rate_hz=30.0, reliability="reliable", frames=3), "rmw", [5.0, 1.0])
    assert (figures.median_ms, figures.max_ms, figures.lost) == (3.0, 5.0, 1)
    none = transport._figures(SimpleNamespace(
        width=4, height=4, rate_hz=30.0, reliability="reliable", frames=3), "rmw", [])
    assert none.median_ms is none.p95_ms is none.max_ms is None


def test_episodes_of_other_weights_are_not_mixed_in(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(episodes=1)
    for episodes in (2, 1):  # something is left, or nothing
        assert run(revision="b", episodes=episodes)[:2] == (1, [])
    assert "holds episodes of the policy a, this is b; name another log" in capsys.readouterr().err
