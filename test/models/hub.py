# SPDX-License-Identifier: Apache-2.0
"""A hub in memory of this process: what it lists and hands out lies in a folder."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """origin: the repository's files. cache: where they are fetched to. extra: names that are
    listed besides, of files too large to have here. fetched: every file handed out, in order."""

    origin: Path
    cache: Path
    extra: tuple[str, ...] = ()
    offline: bool = False
    fetched: list[str] = field(default_factory=list)

    def model_info(
        self, model: str, *, revision: str, timeout: float, files_metadata: bool
    ) -> Any:
        if self.offline:
            raise ConnectionError("no route to host")
        files = [path.relative_to(self.origin).as_posix() for path in self.origin.rglob("*")
                 if path.is_file()]
        names = sorted([*files, *self.extra])
        return SimpleNamespace(siblings=[self._entry(name) for name in names])

    def _entry(self, name: str) -> Any:
        if name in self.extra:
            return SimpleNamespace(rfilename=name, lfs=None, blob_id=None)
        blob = _blob_name(self.origin / name)
        lfs = SimpleNamespace(sha256=blob) if len(blob) == 64 else None
        return SimpleNamespace(rfilename=name, lfs=lfs, blob_id="0" * 40 if lfs else blob)

    def snapshot_download(
        self, model: str, *, revision: str, allow_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        folder = self.cache / revision
        if local_files_only:
            if not folder.is_dir():
                raise FileNotFoundError("not in the cache")
            return str(folder)
        for path in sorted(self.origin.rglob("*")):
            name = path.relative_to(self.origin).as_posix()
            if path.is_file() and any(fnmatch(name, each) for each in allow_patterns or ["*"]):
                self.fetched.append(name)
                blob = self.cache / "blobs" / _blob_name(path)
                for parent in (blob.parent, (folder / name).parent):
                    parent.mkdir(parents=True, exist_ok=True)
                if not blob.exists():
                    shutil.copy(path, blob)
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(blob)
        return str(folder)


def _blob_name(path: Path) -> str:
    """As the hub names a file's content: SHA-256 of weights, git's hash of the rest."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def fake_hub(monkeypatch: pytest.MonkeyPatch, origin: Path, **changes: Any) -> FakeHub:
    """Stands in for the hub's client until the test ends."""
    hub = FakeHub(origin, origin.parent / "cache", **changes)
    monkeypatch.setattr("huggingface_hub.model_info", hub.model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    return hub
