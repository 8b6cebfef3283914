# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 bag from messages that are already serialised."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


def write_bag(
    path: Path,
    messages: Iterable[RawMessage],
    storage: str = "mcap",
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write a new bag at ``path``, in order of reception; a bag that stood there is replaced.

    Message definitions go in with it, our own included, so that tools without this package can
    read it; ``about`` becomes the custom data of its metadata. Raises BagError where something
    that is no bag stands in the way.
    """
    remove_bag(path)
    ordered = sorted(messages, key=lambda message: message.received_ns)
    store = type_store()
    with Writer(path, version=_VERSION, storage_plugin=_STORAGE[storage]) as writer:
        for name, value in (about or {}).items():
            writer.set_custom_data(name, value)
        connections = {}
        for message in ordered:
            key = (message.topic, message.type_name)
            if key not in connections:
                connections[key] = writer.add_connection(
                    message.topic,
                    message.type_name,
                    typestore=store,
                    offered_qos_profiles=[_qos(message.latched)],
                )
            writer.write(connections[key], message.received_ns, message.data)
    return path


def remove_bag(path: Path) -> None:
    """Remove an earlier bag if there is one; raises BagError for anything that is no bag."""
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else {""}
    if not all(n == "metadata.yaml" or n.endswith((".mcap", ".db3")) for n in names):
        raise BagError(f"{path} exists and is no bag: move it away or name another place")
    shutil.rmtree(path)


def _qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability,
               _UNSET, _UNSET, QosLiveliness.AUTOMATIC, _UNSET, False)
