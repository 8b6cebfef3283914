# SPDX-License-Identifier: Apache-2.0
"""LIBERO's table is that of the episodes in docs/results, and tables add up."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_infoentropy_ros import bench
from vla_infoentropy_ros.bench import libero, libero_table
from vla_infoentropy_ros.libero.play import Outcome
from vla_infoentropy_ros.libero.suites import STEP_LIMITS

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("adding", ROOT / "scripts" / "pages" / "adding.py")
adding = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(adding)

Episodes = dict[tuple[str, int, int], Outcome]


def table(rows: dict[str, Episodes]) -> dict[str, dict[str, Any]]:
    dense, ours = rows["dense"], rows[libero.DEFAULT]
    return {name: libero_table.figures_of(played, dense)
            | {"default_against_it": libero_table.pairing(ours, played)}
            for name, played in rows.items()}


def _agree(of: dict[str, Any], whole: dict[str, Any]) -> None:
    others = {"suites", "tasks", "default_against_it", "policy_ms_median", "row", "control"}
    for key in of.keys() - others:
        assert of[key] == pytest.approx(whole[key]), key


def test_the_sum_of_two_tables_is_the_table_of_both():
    rng = np.random.default_rng(0)

    def played(states: range) -> Episodes:
        return {
            (suite, task, state): Outcome(
                suite, task, state, seed=0, control="none", told="", success=bool(rng.integers(2)),
                steps=int(rng.integers(50, 280)), policy_ms=10.0 + state, macs=5.0 * task)
            for suite in STEP_LIMITS for task in (0, 10) for state in states
        }

    names = ("dense", libero.DEFAULT)
    first, then = ({name: played(states) for name in names} for states in (range(3), range(3, 8)))
    first["stale"] = played(range(3))
    total = adding.added(table(then), table(first))
    both = table({name: first[name] | then.get(name, {}) for name in first})
    assert list(total) == ["dense", libero.DEFAULT, "stale"]
    for name, row in total.items():
        whole = both[name]
        _agree(row, whole)
        for suite, part in row["suites"].items():
            _agree(part, whole["suites"][suite])
            assert part["tasks"] == whole["suites"][suite]["tasks"]
        assert row["default_against_it"].items() <= whole["default_against_it"].items()
    assert total["dense"]["policy_ms_median"] == table(then)["dense"]["policy_ms_median"] == 15.0
    assert total["stale"]["policy_ms_median"] is None


def test_the_table_is_that_of_the_episodes_that_are_kept_beside_it(tmp_path: Path):
    results = ROOT / "docs" / "results"
    kept = json.loads((results / "libero.json").read_text())
    out = shutil.copytree(results / "libero", tmp_path / "libero")
    assert bench.main(["libero", "--table-only", "--out", str(out), "--rows", *kept["rows"]]) == 0
    counted = json.loads((out / "table.json").read_text())
    assert counted["of"] == kept["of"]
    for name, row in kept["rows"].items():
        again = counted["rows"][name]
        _agree(row, again)
        assert row["default_against_it"] == again["default_against_it"]
        assert {suite: part["tasks"] for suite, part in row["suites"].items()} == {
            suite: part["tasks"] for suite, part in again["suites"].items()}


@pytest.mark.parametrize("row", ["dense", "attention_drift 64 window", "paper_infoentropy"])
def test_each_initial_state_is_counted_once(row: str):
    """Of these the newest table has all; what is added of the older ones is of other rows."""
    folder = ROOT / "docs" / "results" / "libero" / row.replace(" ", "-")
    states = {(each["suite"], each["task"], each["initial_state"])
              for file in folder.glob("*.jsonl")
              for each in map(json.loads, file.read_text().splitlines())}
    assert states == {(suite, task, state) for suite in STEP_LIMITS for task in range(10)
                      for state in range(25)}
    table = (ROOT / "docs" / "libero.md").read_text().split(f"| `{row}` |")[1]
    spatial, object_, both = (cell.split()[0] for cell in table.split("|")[:3])
    assert [each.split("/")[1] for each in (spatial, object_, both)] == ["250", "250", "500"]
