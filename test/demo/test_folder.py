# SPDX-License-Identifier: Apache-2.0
"""The demo removes what a demo made, and nothing of anybody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_infoentropy_ros.demo import main
from vla_infoentropy_ros.demo.folder import MADE, MARK, FolderError, claim_folder, empty_folder
from vla_infoentropy_ros.replay.bag_reader import BagError


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_or_empty_folder_becomes_the_demos(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a" / "b")
    assert _names(tmp_path / "a" / "b") == {MARK}
    claim_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize("name", ["summary.json", "report.html", "nodes.log", "bag", "mine.txt"])
def test_a_users_folder_is_left_as_it_is(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if name == "bag":
        path.mkdir()
        path = path / "recording.mcap"
    path.write_text("mine")
    assert main(["--out", str(tmp_path), "--episodes", "1"]) == 1
    told = capsys.readouterr().err
    assert f"holds '{name}' and was not made by the demo" in told and "--out" in told
    assert path.read_text() == "mine" and _names(tmp_path) == {name}


def test_a_mark_that_is_a_link_is_none(tmp_path: Path) -> None:
    (tmp_path / MARK).symlink_to("/etc/hostname")
    with pytest.raises(FolderError, match="was not made by the demo"):
        claim_folder(tmp_path)


def test_results_of_an_earlier_run_go_and_nothing_else(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    (tmp_path / "mine.txt").touch()
    other = tmp_path.parent / "other.html"
    other.write_text("mine")
    for name in MADE:
        (tmp_path / name).symlink_to(other) if name == "report.html" else (tmp_path / name).touch()
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    there = _names(tmp_path)
    claim_folder(tmp_path)
    assert main(["--out", str(tmp_path), "--domain", "999"]) == 1, "no graph: nothing begins"
    assert _names(tmp_path) == there
    empty_folder(tmp_path)
    assert _names(tmp_path) == {MARK, "mine.txt"} and other.read_text() == "mine"
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "notes.txt").touch()
    with pytest.raises(BagError, match="is no bag"):
        claim_folder(tmp_path)
