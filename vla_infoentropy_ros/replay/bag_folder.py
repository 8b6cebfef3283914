# SPDX-License-Identifier: Apache-2.0
"""The files of a bag and what its metadata.yaml announces."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import zstandard

from vla_infoentropy_ros.foreign.budgets import limit, within
from vla_infoentropy_ros.foreign.files import read_yaml
from vla_infoentropy_ros.replay.errors import BagError, counted
from vla_infoentropy_ros.replay.storage import (
    SQLITE_MAGIC,
    ZSTD_MAGIC,
    Storage,
    first_bytes,
    open_storage,
)

SUFFIXES = (".mcap", ".db3", ".zstd")
_BLOCK, _HEADER = 1 << 20, 18  # bytes; a zstd frame begins with at most 18 of header
_ROOT = "rosbag2_bagfile_information"


@dataclass(frozen=True)
class BagFiles:
    """files: as they lie on the disk. announced: messages per topic by the metadata, None without
    metadata. by_message: each message is said to be compressed by itself. notes: for the user."""

    files: tuple[Path, ...]
    announced: Mapping[str, int] | None = None
    by_message: bool = False
    notes: tuple[str, ...] = ()


def bag_files(path: Path) -> BagFiles:
    """What belongs to the bag at ``path``, a folder or one file; BagError where that is none."""
    if not path.exists():
        raise BagError(f"{path} does not exist: give a bag folder, or an .mcap or .db3 file")
    if not path.is_dir():
        return BagFiles((path,))
    if (path / "metadata.yaml").is_file():
        return _from_metadata(path)
    parts = _parts_in(path)
    if not parts:
        raise BagError(f"{path} is no bag: it has neither metadata.yaml nor .mcap or .db3 files")
    raise BagError(f"{path} has no metadata.yaml: rebuild it with `ros2 bag reindex {path}`, "
                   f"or name one of its files: {', '.join(sorted(parts))}")


def _from_metadata(path: Path) -> BagFiles:
    place = path / "metadata.yaml"
    first_bytes(place)
    try:
        told = read_yaml(place, BagError)[_ROOT]
        names = [PurePath(str(name)).name for name in told["relative_file_paths"]]
        announced: dict[str, int] = {}
        for entry in told["topics_with_message_count"]:
            topic = str(entry["topic_metadata"]["name"])
            announced[topic] = announced.get(topic, 0) + int(entry["message_count"])
        mode = str(told.get("compression_mode") or "").lower()
        held = {PurePath(str(file["path"])).name: int(file["message_count"])
                for file in told.get("files") or ()}
        total = int(told["message_count"])
    except BagError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BagError(f"{place} is no metadata of a bag (it is damaged, or keys are missing): "
                       f"rebuild it with `ros2 bag reindex {path}`") from error
    if not names:
        raise BagError(f"{place} lists no files: rebuild it with `ros2 bag reindex {path}`")
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        raise BagError(_missing(path, missing, names, held, total))
    strays = _parts_in(path) - set(names)
    notes = (f"{place} does not list {', '.join(sorted(strays))}, which was not read: if it is a "
             f"part of the bag, `ros2 bag reindex {path}`",) * bool(strays)
    return BagFiles(tuple(path / name for name in names), announced, mode == "message", notes)


def _parts_in(path: Path) -> set[str]:
    return {part.name for part in path.iterdir() if part.suffix in SUFFIXES}


def _missing(
    path: Path, missing: list[str], names: list[str], held: Mapping[str, int], total: int
) -> str:
    """Which files are not there, and how many messages went with them, where that is known."""
    lost = sum(held[name] for name in missing) if set(missing) <= set(held) else None
    if lost is None:
        with ExitStack() as stack:
            present = [open_part(path / n, stack) for n in names if n not in missing]
            lost = total - sum(channel.count for part in present for channel in part.channels)
    files = ", ".join(missing)
    they = "it" if len(missing) == 1 else "they"
    return (f"{path} lacks {files}, which its metadata.yaml lists; {they} held {lost} of "
            f"{counted(total, 'message')}: look for {they.replace('they', 'them')} where the bag "
            "was recorded and copy the whole folder again")


@dataclass
class Scratch:
    """Copies of what cannot be read in place. notes: what was done, for the user."""

    stack: ExitStack
    notes: list[str] = field(default_factory=list)

    def folder(self) -> Path:
        return Path(self.stack.enter_context(TemporaryDirectory(prefix="replay-")))


def open_part(path: Path, stack: ExitStack, notes: list[str] | None = None) -> Storage:
    """Open one file of a bag until ``stack`` is left; what cannot be read in place is copied."""
    scratch = Scratch(stack, [] if notes is None else notes)
    head = first_bytes(path)
    real = path
    if head.startswith(ZSTD_MAGIC):
        real = _unpacked(path, scratch.folder())
    elif head.startswith(SQLITE_MAGIC) and _unfinished(path):
        real = _with_log(path, scratch)
    storage = open_storage(_plainly_named(real, scratch), path)
    stack.callback(storage.close)
    return storage


def _plainly_named(path: Path, scratch: Scratch) -> Path:
    """SQLite is given a file as a URI, in which some signs end the name or stand for others; and
    the library goes by its ending."""
    plain = path.suffix == ".db3" and not set("?#%") & set(str(path))
    if plain or not first_bytes(path).startswith(SQLITE_MAGIC):
        return path
    link = scratch.folder() / "part.db3"
    link.symlink_to(path.resolve())
    return link


def _unpacked(path: Path, folder: Path) -> Path:
    """A file that was compressed as a whole."""
    target = folder / path.stem
    written, most = 0, limit("bag_unpacked_bytes")
    try:
        with path.open("rb") as packed, target.open("wb") as plain:
            whole = zstandard.frame_content_size(packed.read(_HEADER))
            packed.seek(0)
            stream = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            while block := stream.read(min(_BLOCK, most - written + 1)):
                written += plain.write(block)
                within("bag_unpacked_bytes", written, path, BagError)
    except zstandard.ZstdError as error:
        raise BagError(f"{path} is damaged: its zstd data cannot be unpacked; copy it again from "
                       "where it was recorded") from error
    except OSError as error:
        raise BagError(f"{path} cannot be unpacked to {folder}: {error.strerror}; set TMPDIR to a "
                       "folder with room for it") from error
    if written < whole:
        raise BagError(f"{path} was cut off: it unpacks to {written} of {whole} bytes; copy it "
                       "again from where it was recorded")
    return target


def _unfinished(path: Path) -> bool:
    """Whether a write-ahead log stands beside a database: its last messages are in there."""
    log = path.with_name(f"{path.name}-wal")
    return log.is_file() and log.stat().st_size > 0


def _with_log(path: Path, scratch: Scratch) -> Path:
    """A copy of a database with its write-ahead log put in: reading would change the original."""
    folder = scratch.folder()
    try:
        for name in (path.name, f"{path.name}-wal"):
            shutil.copyfile(path.with_name(name), folder / name)
    except OSError as error:
        raise BagError(f"{path} was not closed and must be copied to {folder}: {error.strerror}; "
                       "set TMPDIR to a folder with room for it") from error
    _put_in(folder / path.name, path)
    scratch.notes.append(f"{path.name} was not closed (there is a {path.name}-wal beside it): it "
                         "was read from a copy into which the log was put; nothing was changed")
    return folder / path.name


def _put_in(copy: Path, path: Path) -> None:
    import apsw

    try:
        connection: Any = apsw.Connection(str(copy))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        connection.close()
    except apsw.Error as error:
        raise BagError(f"{path} and its -wal do not fit together: `sqlite3 {path.name} .recover` "
                       "saves what is left") from error
