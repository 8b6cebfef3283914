# SPDX-License-Identifier: Apache-2.0
"""The step benchmarks run and say what they measured; how fast, no test asks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from vla_infoentropy_ros.__main__ import main as command
from vla_infoentropy_ros.bench import main as bench
from vla_infoentropy_ros.bench import steps


def test_steps_writes_every_variant(tmp_path, capsys):
    out = tmp_path / "steps.json"
    code = bench(["steps", "--episodes", "1", "--selectors", "dense", "attention_drift",
                  "--out", str(out)])
    record = json.loads(out.read_text())
    assert code == 0
    assert list(record["variants"]) == [
        "dense", "dense+window", "attention_drift", "attention_drift+window"]
    assert record["variants"]["dense+window"]["same_actions"] == 1.0, "window must play as greedy"
    drift = record["variants"]["attention_drift"]
    assert drift["fresh"] == 64 and drift["passes"] == 7
    assert 0 < drift["papers_gmacs"] < record["variants"]["dense"]["papers_gmacs"]
    assert drift["gflops"] < record["variants"]["dense"]["gflops"]
    assert record["versions"]["torch"] and record["command"]
    assert "attention_drift+window" in capsys.readouterr().out


def step(t: int, chosen: int, reason: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        t=t, latency_ms=1.0, stages_ms={}, decoder_passes=1, flops=0, macs=0,
        action=SimpleNamespace(chunk=np.array([[chosen]]), token_ids=[chosen]),
        report=SimpleNamespace(fresh=1, reasons=np.array([reason])))


def test_shares_are_of_the_steps_that_are_counted():
    """The first of an episode is dense, and so the same, whatever runs."""
    first = [step(t, 0) for t in (0, 1, 0, 1, 2)]
    ours = [step(0, 0), step(1, 1, 1), step(0, 0), step(1, 0, 1), step(2, 0)]
    row = steps._row(ours, first)
    assert row["steps"] == 3 and row["same_actions"] == pytest.approx(2 / 3)
    assert steps.as_greedy(ours, first) == {
        "tokens_as_greedy": pytest.approx(2 / 3), "plans_as_greedy": pytest.approx(1 / 3)}


def test_unknown_names_are_answered_with_the_known(capsys):
    assert bench(["speed"]) == 2
    assert "unknown benchmark 'speed'" in capsys.readouterr().out
    assert command(["fly"]) == 2
    assert "unknown command 'fly'" in capsys.readouterr().out
    assert command(["--help"]) == 0
