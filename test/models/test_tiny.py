# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that a first self-test is tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_infoentropy_ros import selftest
from vla_infoentropy_ros.models.openvla.tiny import main


def test_it_is_written_passes_the_self_test_and_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my robot"
    assert main([str(folder)]) == 0
    told = capsys.readouterr().out
    assert told.endswith(f"selftest --model '{folder}'\n") and "never enable a robot" in told
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2e6
    given = ["--control-period-s", "0.1", "--action-units", "si", "--trained-rotation", "rpy",
             "--crop", "none"]
    assert selftest.main(["--model", str(folder), *given]) == 0
    told = capsys.readouterr().out
    assert "warn" not in told and told.endswith("  passed\n")
    assert main([str(folder)]) == 1
    assert f"error: '{folder}' is there already; name a new folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == 1
    assert main([str(tmp_path / "file" / "within")]) == 1
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error"] * 2
