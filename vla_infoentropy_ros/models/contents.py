# SPDX-License-Identifier: Apache-2.0
"""What lies in a checkpoint, by name, before any of it is believed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vla_infoentropy_ros.foreign.files import read_bytes
from vla_infoentropy_ros.models.adapter import PolicyError

MOST_NAMES = 10_000  # published checkpoints hold a few dozen files
FILE_ENDINGS = (".json", ".safetensors", ".py")  # nobody calls a folder so on purpose


@dataclass(frozen=True)
class Contents:
    """A checkpoint's file names and where its small files can be read.

    place: folder or hub id, for messages. folder: on this machine; of a hub checkpoint, what has
    been fetched of it. names: relative, with "/", one subfolder deep; those of subfolders
    themselves end in "/".
    """

    place: str
    folder: Path
    names: tuple[str, ...]

    @classmethod
    def of_folder(cls, folder: Path) -> Contents:
        """Look through a folder. Raises PolicyError for what is no file and no folder in it."""
        names = []
        for name in _names(folder):
            names.append(name)
            if len(names) > MOST_NAMES:
                raise PolicyError(
                    f"{folder} holds more than {MOST_NAMES} files; name a checkpoint's folder"
                )
        return cls(str(folder), folder, tuple(sorted(names)))

    @classmethod
    def of_listing(cls, place: str, folder: Path, files: Iterable[str]) -> Contents:
        """From the names of all files at any depth, as a hub lists them."""
        names = set()
        for file in files:
            parts = file.split("/")
            names |= {file} if len(parts) <= 2 else set()
            names |= {f"{parts[0]}/"} if len(parts) > 1 else set()
        return cls(place, folder, tuple(sorted(names)))

    def matching(self, *patterns: str) -> list[str]:
        """Files and subfolders that match a shell pattern, whose ``*`` stays within a folder."""
        return [
            name for name in self.names
            if any(
                name.rstrip("/").count("/") == pattern.count("/")
                and fnmatchcase(name.rstrip("/"), pattern)
                for pattern in patterns
            )
        ]

    def code(self) -> str:
        """The checkpoint's own Python files as text, to be read and never run."""
        return "\n".join(_text(self.folder / name) for name in self.matching("*.py"))


def _names(folder: Path) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise PolicyError(
            f"{folder} cannot be read ({error.strerror}); give its reader the right to"
        ) from error
    for entry in entries:
        if entry.is_dir():
            if entry.name.endswith(FILE_ENDINGS):
                raise PolicyError(
                    f"{entry.path} is a folder, must be a file; fetch the checkpoint again"
                )
            yield f"{entry.name}/"
            yield from _names_within(entry)
        elif entry.is_file():
            yield entry.name
        elif entry.is_symlink():
            raise PolicyError(
                f"{entry.path} is a link to a file that is not there; copy the checkpoint with "
                "what its links lead to (cp -L), or fetch it again"
            )
        else:
            raise PolicyError(f"{entry.path} is neither a file nor a folder; remove it")


def _names_within(folder: os.DirEntry[str]) -> Iterator[str]:
    try:
        yield from (f"{folder.name}/{inner}" for inner in os.listdir(folder.path))
    except OSError:
        return  # its own name is known, and nothing in it is ever loaded


def _text(path: Path) -> str:
    try:
        return read_bytes(path, "code_bytes", PolicyError).decode("utf-8", errors="replace")
    except OSError as error:
        raise PolicyError(f"{path} cannot be read ({error.strerror}); fetch it again") from error
