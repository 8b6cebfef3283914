# SPDX-License-Identifier: Apache-2.0
"""What files hold, as one SHA-256 over every byte; the second time at once.

A file's digest is remembered under its inode, size and times. The time of change (ctime) is one
of them: whoever writes to a file can set the other back, but not that one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from vla_infoentropy_ros.foreign.budgets import BudgetError
from vla_infoentropy_ros.foreign.files import open_regular, read_json

PREFIX = "sha256-"
DIGEST = re.compile(r"[0-9a-f]{64}")
GIT_OBJECT = re.compile(r"[0-9a-f]{40}")
_BLOCK = 1 << 22
_WORTH_REMEMBERING = 1 << 20  # bytes; a smaller file is hashed sooner than looked up
_MOST_REMEMBERED = 1000
_SETTLED_NS = 2_000_000_000  # of a younger file, a later change might leave the same time


def digest_files(
    folder: Path, names: Sequence[str], *, progress: bool = False,
    error: type[Exception] = BudgetError,
) -> str:
    """``sha256-`` and 64 hex digits over the names and all bytes of files in ``folder``; raises as
    `file_digests`."""
    each = file_digests(folder, names, progress=progress, error=error)
    lines = "".join(f"{name}\0{each[name]}\n" for name in sorted(each))
    return PREFIX + hashlib.sha256(lines.encode()).hexdigest()


def file_digests(
    folder: Path, names: Sequence[str], *, progress: bool = False,
    error: type[Exception] = BudgetError,
) -> dict[str, str]:
    """The SHA-256 of each file, 64 hex digits.

    progress: a bar on stderr when it takes longer than a second. Raises ``error`` for what is no
    regular file or changes meanwhile, OSError for what cannot be read.
    """
    memory = _Memory()
    found = {}
    total = sum((folder / name).stat().st_size for name in names)
    with tqdm(total=total, unit="B", unit_scale=True, desc="checking files", mininterval=1.0,
              delay=1.0, disable=not progress) as bar:
        for name in names:
            with open_regular(folder / name, error=error) as file:
                found[name] = _digest(file, memory, bar)
                if not found[name]:
                    raise error(f"{folder / name} changes while it is read; let it be completed")
    memory.save()
    return found


def _digest(file: BinaryIO, memory: _Memory, bar: Any) -> str:
    """64 hex digits, remembered or anew; "" where the file changed meanwhile."""
    before = os.fstat(file.fileno())
    if known := memory.known(before):
        bar.update(before.st_size)
        return known
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
        bar.update(len(block))
    if _key(os.fstat(file.fileno())) != _key(before):
        return ""
    memory.learn(before, digest.hexdigest())
    return digest.hexdigest()


def git_object(path: Path, error: type[Exception] = BudgetError) -> str:
    """The name that git gives a file by its content: 40 hex digits."""
    with open_regular(path, "json_bytes", error) as file:
        content = file.read()
    framed = b"blob %d\0" % len(content) + content
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest()


class _Memory:
    """Digests of earlier starts, in the user's cache folder; without one all is hashed anew."""

    def __init__(self) -> None:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._path = Path(root) / "vla_infoentropy_ros" / "digests.json"
        self._known: dict[str, str] = {}
        self._new = False
        with suppress(OSError, BudgetError):
            found = read_json(self._path)
            if isinstance(found, dict):
                self._known = {
                    key: value for key, value in found.items()
                    if isinstance(value, str) and DIGEST.fullmatch(value)
                }

    def known(self, about: os.stat_result) -> str:
        return self._known.get(_key(about), "")

    def learn(self, about: os.stat_result, digest: str) -> None:
        settled = time.time_ns() - about.st_ctime_ns > _SETTLED_NS
        if about.st_size >= _WORTH_REMEMBERING and settled:
            self._known[_key(about)] = digest
            self._new = True

    def save(self) -> None:
        if not self._new:
            return
        newest = dict(list(self._known.items())[-_MOST_REMEMBERED:])
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self._path.parent) as folder:
                part = Path(folder) / self._path.name
                part.write_text(json.dumps(newest), encoding="utf-8")
                os.replace(part, self._path)


def _key(about: os.stat_result) -> str:
    return (f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:"
            f"{about.st_ctime_ns}")
