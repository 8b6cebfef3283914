# SPDX-License-Identifier: Apache-2.0
"""What a run that was cut off leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_infoentropy_ros import episode_log


def seed_of(line: dict[str, int]) -> int:
    return line["seed"]


def test_what_was_added_is_read_again_in_its_order(tmp_path: Path) -> None:
    log = tmp_path / "new" / "folder.jsonl"
    assert episode_log.finished(log, seed_of) == []
    for seed in (7, 3):
        episode_log.add(log, {"seed": seed})
    assert episode_log.finished(log, seed_of) == [7, 3]


def test_a_line_that_was_cut_off_is_taken_off_before_the_next_is_added(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"seed": 1}\n{"seed": 2, "told": "\xc3')  # within a character
    assert episode_log.finished(log, seed_of) == [1]
    assert b"\xc3" in log.read_bytes(), "another run may be writing it now"
    episode_log.add(log, {"seed": 2})
    assert episode_log.finished(log, seed_of) == [1, 2]


def test_a_whole_line_without_its_end_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"seed": 1}\n{"seed": 2}')
    assert episode_log.finished(log, seed_of) == [1, 2]
    episode_log.add(log, {"seed": 3})
    assert episode_log.finished(log, seed_of) == [1, 2, 3]


@pytest.mark.parametrize("content", [
    b"my only notes", b"[1] my only notes", b'{"seed": 1}\nno episode', b'{"seed": 1}\n{"a": 2}',
    b"\x89MCAP0\r\n" + bytes(64),
])
def test_a_file_that_is_no_log_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "recording.mcap"
    file.write_bytes(content)
    with pytest.raises(episode_log.EpisodeLogError, match=r"recording\.mcap, line .*another log"):
        episode_log.finished(file, seed_of)
    assert file.read_bytes() == content


@pytest.mark.parametrize("line", [b"[1, 2", b'{"steps": 1}', b"7", b"\xff\xfe"])
def test_what_is_no_episode_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"seed": 1}\n' + line + b'\n{"seed": 3}\n')
    with pytest.raises(episode_log.EpisodeLogError, match=r"log\.jsonl, line 2: .*another log"):
        episode_log.finished(log, seed_of)
    assert log.read_bytes().count(b"\n") == 3, "nothing of it is lost"


def test_without_a_log_nothing_is_kept() -> None:
    episode_log.add(None, {"seed": 1})
    assert episode_log.finished(None, seed_of) == []


def test_a_folder_is_held_to_what_its_first_run_said(tmp_path: Path) -> None:
    file = tmp_path / "new" / "of.json"
    assert episode_log.held(file) == {}
    for _ in range(2):
        episode_log.hold(file, {"policy": "a"})
    assert episode_log.held(file) == {"policy": "a"} and list(file.parent.iterdir()) == [file]
    with pytest.raises(episode_log.EpisodeLogError, match=r"new is for episodes of policy 'a', "
                       "this is 'b': name another folder"):
        episode_log.hold(file, {"policy": "b"})
    for wrong in ("", "[]", "{"):
        file.write_text(wrong)
        with pytest.raises(episode_log.EpisodeLogError, match="does not say whose episodes"):
            episode_log.hold(file, {"policy": "a"})
