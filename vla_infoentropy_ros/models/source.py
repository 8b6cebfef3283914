# SPDX-License-Identifier: Apache-2.0
"""Where a policy's files come from: a folder, or the hub at one commit."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.text import did_you_mean, one_line, printable, shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.contents import Contents
from vla_infoentropy_ros.models.families import CONFIG, EMBEDDED_CONFIG, Family, recognise
from vla_infoentropy_ros.models.pins import check_snapshot, folder_revision
from vla_infoentropy_ros.models.weight_files import WeightFiles, weight_files

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_TIMEOUT_S = 10.0
SMALL_FILES = (".json", ".py")  # fetched and looked at before the weights are; code is never run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A checkpoint of a family that runs here; of one on the hub, what is small is here.

    weights: the files that its tensors are read from. commit: on the hub, else "". listed: hashes
    of its files as the hub lists them, where it could be asked.
    """

    contents: Contents
    family: Family
    weights: WeightFiles
    commit: str = ""
    listed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, contents: Contents, commit: str = "", listed: Mapping[str, str] | None = None
    ) -> Source:
        """Recognise what was found. Raises PolicyError for what does not run here."""
        family = recognise(contents)
        return cls(contents, family, weight_files(contents, family), commit, listed or {})

    @property
    def deciding(self) -> list[str]:
        """The files that decide an action."""
        return sorted({*self.contents.matching("*.json"), *self.weights, *self.beside})

    @property
    def beside(self) -> list[str]:
        """Small weight files beside the model's own."""
        return [name for name in self.contents.names
                if re.fullmatch(self.family.side_weights, name)]

    @property
    def absent(self) -> list[str]:
        """Of those the ones that are still on the hub alone."""
        return [name for name in self.deciding if not (self.folder / name).exists()]

    @property
    def folder(self) -> Path:
        return self.contents.folder


def existing_folder(model: str) -> Path | None:
    """The folder that ``model`` names, None if it names none. Raises PolicyError for a name that
    the file system takes as a path and cannot follow."""
    try:
        path = Path(model).expanduser()
        found = "folder" if path.is_dir() else "file" if path.exists() else ""
        dangling = path.is_symlink() and not found
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a zero byte
        reason = getattr(error, "strerror", None) or one_line(error)
        raise PolicyError(
            f"model={shown(model)} cannot be followed ({reason}); name a folder or a "
            "hub id"
        ) from error
    if found == "file":
        raise PolicyError(f"model={model!r} is a file; name the folder that holds config.json")
    if dangling:
        raise PolicyError(f"model={model!r} is a link to a folder that is not there; mend the link")
    return path if found else None


def is_embedded(folder: Path) -> bool:
    """Whether a folder holds an embedded policy, which has a layout of its own."""
    if not (folder / EMBEDDED_CONFIG).is_file():
        return False
    if (folder / CONFIG).exists():
        raise PolicyError(
            f"{folder} holds {EMBEDDED_CONFIG} of an embedded policy and {CONFIG} of another one; "
            "give each a folder of its own"
        )
    return True


def locate(model: str, revision: str, names: Iterable[str] = ()) -> Source:
    """A local folder, or a hub id at the commit ``revision``, seen through and recognised. names:
    what else could have been meant."""
    folder = existing_folder(model)
    if folder is not None:
        return Source.of(Contents.of_folder(folder))
    if not HUB_ID.fullmatch(model):
        raise PolicyError(_with_hint(
            f"model={model!r}: no such folder, and not a hub id (owner/name)", model, names
        ))
    if not HUB_COMMIT.fullmatch(revision):  # a branch or a tag may hold other weights tomorrow
        raise PolicyError(_with_hint(
            f"model={model!r} is a hub id and needs a revision, revision={revision!r} is no "
            "commit: pin the one (40 hex digits) whose weights you have tested, or name a local "
            "folder", model, names
        ))
    return _from_hub(model, revision)


def _with_hint(told: str, model: str, names: Iterable[str]) -> str:
    """Whatever is called nearly like it: one of ``names``, or a folder beside where it would be."""
    path = Path(model).expanduser()
    try:
        beside = [each.name for each in path.parent.iterdir() if each.is_dir()]
    except (OSError, ValueError):  # not to be read; a zero byte
        beside = []
    hint = did_you_mean(model, names) or did_you_mean(path.name, beside)
    return "; ".join(filter(None, (told, hint)))


def _from_hub(model: str, revision: str) -> Source:
    """The names first, then what is small; the weights follow in `pinned_revision`, when a loader
    has found all that in order."""
    from huggingface_hub import model_info  # only where a hub id was asked for

    try:
        info = model_info(model, revision=revision, timeout=HUB_TIMEOUT_S, files_metadata=True)
        listed = {entry.rfilename: _hash_of(entry) for entry in info.siblings or ()}
    except Exception as error:  # the hub client raises its own, the HTTP library's and OSError
        return _from_cache(model, revision, error)
    files = list(listed)
    small = [name for name in files if "/" not in name and name.endswith(SMALL_FILES)]
    folder = _fetch(model, revision, small)
    source = Source.of(Contents.of_listing(model, folder, files), revision, listed)
    if source.beside:
        _fetch(model, revision, source.beside)
    return source


def _hash_of(entry: Any) -> str:
    """What the hub lists for one file: SHA-256 of a large one, git's name of a small one."""
    return str(entry.lfs.sha256 if entry.lfs else entry.blob_id)


def _fetch(model: str, revision: str, names: list[str]) -> Path:
    """Fetch files of a hub checkpoint by name; returns the folder that they are in."""
    from huggingface_hub import snapshot_download

    wanted = [glob.escape(name) for name in names]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except Exception as error:
        raise _unreachable(model, revision, error) from error


def _from_cache(model: str, revision: str, cause: Exception) -> Source:
    """What was fetched at an earlier time, where the hub cannot be asked now: robots are often
    offline."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except Exception:
        raise _unreachable(model, revision, cause) from cause
    logger.warning(
        "%s: the hub does not list its files (%s); taking the copy fetched earlier, %s",
        printable(model), one_line(f"{type(cause).__name__}: {cause}"), folder,
    )
    return Source.of(Contents.of_folder(folder), revision)


def _unreachable(model: str, revision: str, error: Exception) -> PolicyError:
    return PolicyError(
        f"{model} at revision {revision} cannot be fetched from the hub "
        f"({one_line(f'{type(error).__name__}: {error}')}); check both names and the network, or "
        "name a local folder"
    )


def pinned_revision(source: Source, revision: str, *, progress: bool = False) -> str:
    """The hub's commit or the folder's digest, after all files that decide an action were fetched
    and hashed whole; PolicyError where they are not those of the commit or of ``revision``."""
    if source.commit:
        if source.absent:
            _fetch(source.contents.place, source.commit, source.absent)
        check_snapshot(source.folder, source.deciding, source.listed, progress=progress)
        return source.commit
    return folder_revision(source.folder, source.deciding, revision, progress=progress)
