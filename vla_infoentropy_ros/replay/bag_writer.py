# SPDX-License-Identifier: Apache-2.0
"""Write rosbag2 bags, message by message or from messages that were kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.types import type_store

# Version 9 says the same in words that the tools of Humble cannot read; all read version 8.
_VERSION: Literal[8] = 8
_STORAGE = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_UNSET = QosTime(0, 0)


@dataclass(frozen=True)
class RawMessage:
    """One message as it was on the wire.

    received_ns: wall clock at reception. data: CDR with its 4 bytes of encapsulation header.
    latched: the publisher keeps its last message for late subscribers (transient local).
    """

    topic: str
    type_name: str
    received_ns: int
    data: bytes
    latched: bool = False


class BagWriter:
    """A new bag at ``path``; use it as a context manager. However the block is left, but by a full
    disk, the bag is whole and holds what was added until then.

    Message definitions go in with it, our own included, so that tools without this package can
    read it; ``about`` becomes the custom data of its metadata. An earlier bag is replaced; raises
    BagError where something that is no bag stands in the way, or nothing can be written.
    """

    def __init__(
        self, path: Path, storage: str = "mcap", about: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        remove_bag(path)
        self._writer = Writer(path, version=_VERSION, storage_plugin=_STORAGE[storage])
        for name, value in (about or {}).items():
            self._writer.set_custom_data(name, value)
        self._connections: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except OSError as error:
            raise self._refusal(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._writer.close()
        except OSError as full:
            self._writer.abort()
            if error is None:
                raise self._refusal(full) from full

    def add(self, message: RawMessage) -> None:
        """Messages come in order of reception."""
        key = (message.topic, message.type_name)
        try:
            if key not in self._connections:
                self._connections[key] = self._writer.add_connection(
                    message.topic,
                    message.type_name,
                    typestore=type_store(),
                    offered_qos_profiles=[_qos(message.latched)],
                )
            self._writer.write(self._connections[key], message.received_ns, message.data)
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> BagError:
        return BagError(f"{self.path} cannot be written: {error.strerror}; make room or name "
                        "another place (what is there already, `mcap recover` saves)")


def write_bag(
    path: Path,
    messages: Iterable[RawMessage],
    storage: str = "mcap",
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write kept messages in order of reception, as `BagWriter` does."""
    with BagWriter(path, storage, about) as writer:
        for message in sorted(messages, key=lambda message: message.received_ns):
            writer.add(message)
    return path


def remove_bag(path: Path) -> None:
    """Remove an earlier bag if there is one; raises BagError for anything that is no bag."""
    check_bag(path)
    if path.exists():
        shutil.rmtree(path)


def check_bag(path: Path) -> None:
    """Raise BagError where something stands there that is no bag."""
    if not path.exists() and not path.is_symlink():
        return
    real = path.is_dir() and not path.is_symlink()
    names = {entry.name for entry in path.iterdir()} if real else {""}
    if not all(n == "metadata.yaml" or n.endswith((".mcap", ".db3")) for n in names):
        raise BagError(f"{path} exists and is no bag: move it away or name another place")


def _qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability,
               _UNSET, _UNSET, QosLiveliness.AUTOMATIC, _UNSET, False)
