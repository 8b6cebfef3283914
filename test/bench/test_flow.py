# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from vla_infoentropy_ros.bench import flow


def test_many_steps_are_nearer_than_few_and_drafts_are_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flow.Tabletop, "max_steps", 3)
    out = tmp_path / "flow.json"
    assert flow.main(["--episodes", "1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    ways, stages = record["ways"], record["stages_ms"]
    assert stages["prefix with 256 tokens"] > stages["prefix with 32 tokens"] > 0
    assert stages["vision"] > 0
    assert list(ways) == [way.name for way in flow.WAYS]
    assert ways["8 Euler steps"]["chunk_mm"] < ways["1 Euler step"]["chunk_mm"]
    assert ways["2 Euler steps"]["plans"] == 3
    assert ways["draft from 0.5, 1 Euler step"]["plans"] == 2, "the first plan has no draft"
    assert ways["8 Euler steps"]["ms"] > ways["2 Euler steps"]["ms"] > 0
    assert "draft from 0.5, 1 Euler step" in capsys.readouterr().out


def test_a_policy_by_tokens_is_refused():
    with pytest.raises(SystemExit, match="embedded does not act by flow"):
        flow.main(["--model", "embedded"])
