# SPDX-License-Identifier: Apache-2.0
"""A digest covers every byte, and is remembered for as long as nobody writes to the file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from vla_infoentropy_ros.foreign import digest
from vla_infoentropy_ros.foreign.digest import digest_files, file_digests, git_object

LARGE = digest._WORTH_REMEMBERING + 1


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cache folder of the test's own; how many bytes of large files were hashed, call by call."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "_SETTLED_NS", -1)  # the files of a test are new
    seen: list[int] = []

    class Counted:
        def __init__(self) -> None:
            self._inner = hashlib.new("sha256")

        def update(self, data: bytes) -> None:
            seen.append(len(data))
            self._inner.update(data)

        def hexdigest(self) -> str:
            return self._inner.hexdigest()

    monkeypatch.setattr(digest.hashlib, "sha256", lambda data=b"": Counted() if not data
                        else hashlib.new("sha256", data))
    return seen


def _file(folder: Path, size: int = LARGE) -> Path:
    path = folder / "weights.safetensors"
    path.write_bytes(bytes(size))
    return path


def test_the_second_time_nothing_is_read(tmp_path: Path, hashed: list[int]) -> None:
    path = _file(tmp_path)
    first = digest_files(tmp_path, [path.name])
    assert sum(hashed) == LARGE
    assert digest_files(tmp_path, [path.name]) == first and sum(hashed) == LARGE
    assert (tmp_path / "cache" / "vla_infoentropy_ros" / "digests.json").is_file()


def test_a_change_in_the_middle_is_seen_though_its_time_is_set_back(
    tmp_path: Path, hashed: list[int]
) -> None:
    path = _file(tmp_path)
    first, about = digest_files(tmp_path, [path.name]), path.stat()
    with path.open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"x")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_mtime_ns == about.st_mtime_ns
    assert digest_files(tmp_path, [path.name]) != first


def test_a_file_too_new_is_not_remembered(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another write within the clock's tick would leave the same times."""
    monkeypatch.setattr(digest, "_SETTLED_NS", 60 * 10**9)
    path = _file(tmp_path)
    digest_files(tmp_path, [path.name])
    digest_files(tmp_path, [path.name])
    assert sum(hashed) == 2 * LARGE


@pytest.mark.parametrize("content", ["", "[]", '{"1": "2"}', "{", '{"a": 1}'])
def test_a_damaged_memory_is_none(tmp_path: Path, hashed: list[int], content: str) -> None:
    path = _file(tmp_path)
    first = digest_files(tmp_path, [path.name])
    (tmp_path / "cache" / "vla_infoentropy_ros" / "digests.json").write_text(content)
    assert digest_files(tmp_path, [path.name]) == first and sum(hashed) == 2 * LARGE


def test_names_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = digest_files(tmp_path, ["a", "b"])
    assert first == digest_files(tmp_path, ["b", "a"])
    (tmp_path / "a").write_text("b")
    (tmp_path / "b").write_text("a")
    assert digest_files(tmp_path, ["a", "b"]) != first
    assert file_digests(tmp_path, ["a"]) == {"a": hashlib.sha256(b"b").hexdigest()}


def test_git_names_a_file_as_git_does(tmp_path: Path) -> None:
    path = _file(tmp_path, 10)
    told = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True,
                          check=True)
    assert git_object(path) == told.stdout.strip()


def test_hashing_keeps_up_with_a_disk(tmp_path: Path) -> None:
    path = _file(tmp_path, 64 << 20)
    began_s = time.process_time()
    file_digests(tmp_path, [path.name])
    assert time.process_time() - began_s < 2.0, "15 GB must be hashed in a minute or two"
