# SPDX-License-Identifier: Apache-2.0
"""A hub in memory of this process: what it lists and hands out lies in a folder."""

from __future__ import annotations

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

    def model_info(self, model: str, *, revision: str, timeout: float) -> Any:
        if self.offline:
            raise ConnectionError("no route to host")
        files = [path.relative_to(self.origin).as_posix() for path in self.origin.rglob("*")
                 if path.is_file()]
        names = sorted([*files, *self.extra])
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

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
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name)
        return str(folder)


def fake_hub(monkeypatch: pytest.MonkeyPatch, origin: Path, **changes: Any) -> FakeHub:
    """Stands in for the hub's client until the test ends."""
    hub = FakeHub(origin, origin.parent / "cache", **changes)
    monkeypatch.setattr("huggingface_hub.model_info", hub.model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    return hub
