# SPDX-License-Identifier: Apache-2.0
"""A pin means the bytes: all files that decide an action, hashed whole and compared whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.digest import (
    DIGEST,
    GIT_OBJECT,
    PREFIX,
    digest_files,
    file_digests,
    git_object,
)
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError


def folder_revision(
    folder: Path, names: Sequence[str], pin: str = "", *, progress: bool = False
) -> str:
    """``sha256-`` and the digest of the named files; PolicyError where ``pin`` is another.

    pin: all 64 hex digits, with or without the prefix; "" takes any.
    """
    wanted = pin.removeprefix(PREFIX)
    if pin and not DIGEST.fullmatch(wanted):
        raise PolicyError(
            f"revision={shown(pin)} is no pin of a folder: give all of {PREFIX}... with its 64 "
            "hex digits, as the first line of selftest shows it, or leave it empty"
        )
    try:
        found = digest_files(folder, names, progress=progress, error=PolicyError)
    except OSError as error:
        raise PolicyError(
            f"{error.filename or folder} cannot be read ({error.strerror}); fetch it again"
        ) from error
    if pin and found != PREFIX + wanted:
        raise PolicyError(
            f"revision={shown(pin)}, but {folder} is {found}: the folder holds other files than "
            "those that were pinned"
        )
    return found


def check_snapshot(
    folder: Path, names: Sequence[str], listed: Mapping[str, str], *, progress: bool = False
) -> None:
    """Raise PolicyError unless each file fetched from the hub is what the commit says it is.

    The hub's cache names a file's content by its hash, SHA-256 of a large and git's of a small
    one, and a snapshot links to it. listed: the hashes that the hub lists for the commit, empty
    where it could not be asked.
    """
    blobs = {name: Path(os.path.realpath(folder / name)) for name in names}
    large = {blob.name: blob for blob in blobs.values() if DIGEST.fullmatch(blob.name)}
    try:
        found = _digests(large, progress)
        found |= {blob.name: git_object(blob, PolicyError)
                  for blob in blobs.values() if GIT_OBJECT.fullmatch(blob.name)}
    except OSError as error:
        raise PolicyError(
            f"{error.filename or folder} cannot be read ({error.strerror}); fetch it again"
        ) from error
    for name, blob in blobs.items():
        if blob.name not in found:
            raise PolicyError(
                f"{folder / name} is no link into the hub's cache, so nothing tells what it held; "
                "remove it and fetch it again, or name the folder as model and pin that"
            )
        wanted = listed.get(name, blob.name)
        if found[blob.name] != blob.name or blob.name != wanted:
            raise PolicyError(
                f"{folder / name} holds {found[blob.name]}, must be {wanted}: it was changed since "
                f"it was fetched; remove {blob} and the link to it, and fetch it again"
            )


def _digests(blobs: Mapping[str, Path], progress: bool) -> dict[str, str]:
    """By the name of a large file, its SHA-256."""
    if not blobs:
        return {}
    folder = next(iter(blobs.values())).parent
    return file_digests(folder, list(blobs), progress=progress, error=PolicyError)
