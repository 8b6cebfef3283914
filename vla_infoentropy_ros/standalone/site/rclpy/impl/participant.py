# SPDX-License-Identifier: Apache-2.0
"""One DDS participant per context: endpoints, what it tells others, and what it sees of them."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import DDSStatus, GuardCondition
from cyclonedds.pub import Publisher
from cyclonedds.sub import Subscriber

from vla_infoentropy_ros.standalone import dds
from vla_infoentropy_ros.standalone.messages import deserialize, message_class, serialize

_INFO_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
_ALIVE = 16  # instance state of an endpoint that exists
_NEWS = DDSStatus.DataAvailable


@dataclass
class NodeRecord:
    """A node of this participant and the GUIDs of its endpoints."""

    name: str
    namespace: str
    readers: list[bytes] = field(default_factory=list)
    writers: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Endpoint:
    """A writer or reader anywhere in the domain."""

    guid: bytes
    topic: str
    type_name: str
    qos: Any


class Participant:
    """The DDS side of a context."""

    def __init__(self, domain_id: int, enclave: str = "/") -> None:
        """Join the domain and announce no nodes yet."""
        self.domain_id = domain_id
        self._builtin_lock = threading.Lock()
        self._endpoints: dict[bool, list[Endpoint]] = {}  # by whether they write
        self.entity = dds.create_participant(domain_id, enclave)
        self.guid = dds.guid_bytes(self.entity)
        self._publisher = Publisher(self.entity)
        self._subscriber = Subscriber(self.entity)
        self._nodes: list[NodeRecord] = []
        self._lock = threading.Lock()
        self._counter = 0
        self._topics: dict[tuple[str, str], Any] = {}
        latched = dds.EndpointQos(transient_local=True)
        self._info_writer = self.create_writer("ros_discovery_info", _INFO_TYPE, latched)
        self._info_reader = self.create_reader(
            "ros_discovery_info", _INFO_TYPE, replace(latched, keep_all=True)
        )
        self._infos: dict[bytes, Any] = {}
        self._publications = BuiltinDataReader(self.entity, BuiltinTopicDcpsPublication)
        self._subscriptions = BuiltinDataReader(self.entity, BuiltinTopicDcpsSubscription)

    def create_writer(
        self, topic: str, type_name: str, qos: dds.EndpointQos, with_request_id: bool = False
    ) -> dds.Writer:
        """Create a writer for a full DDS topic name."""
        entity = self._topic(topic, type_name, with_request_id)
        return dds.Writer(self._publisher, entity, topic, type_name, qos)

    def create_reader(
        self, topic: str, type_name: str, qos: dds.EndpointQos, with_request_id: bool = False
    ) -> dds.Reader:
        """Create a reader for a full DDS topic name."""
        entity = self._topic(topic, type_name, with_request_id)
        return dds.Reader(self._subscriber, entity, topic, type_name, qos)

    def _topic(self, name: str, type_name: str, with_request_id: bool) -> Any:
        """Return the entity of a topic; one is kept until the participant is closed.

        To delete one, Cyclone DDS releases its type description from a thread of its own, and
        waits for the interpreter lock there.
        """
        with self._lock:
            key = (name, type_name)
            if key not in self._topics:
                self._topics[key] = dds.topic_for(self.entity, name, type_name, with_request_id)
            return self._topics[key]

    def create_guard(self) -> GuardCondition:
        """Create a condition that :meth:`GuardCondition.set` triggers."""
        return GuardCondition(self.entity)

    def create_waiter(self) -> dds.Waiter:
        """Create something to wait with."""
        return dds.Waiter(self.entity)

    def unique_id(self) -> str:
        """Identifier that pairs the reader and the writer of one client or service."""
        with self._lock:
            self._counter += 1
            data = self.guid[:12] + self._counter.to_bytes(4, "little")
        return ".".join(f"{byte:x}" for byte in data)

    def close(self) -> None:
        """Leave the domain."""
        for endpoint in (self._info_writer, self._info_reader):
            endpoint.close()
        for entity in (
            self._publications,
            self._subscriptions,
            self._publisher,
            self._subscriber,
            self.entity,
        ):
            dds.close(entity)

    # What others learn about our nodes

    def add_node(self, name: str, namespace: str) -> NodeRecord:
        """Announce a node."""
        record = NodeRecord(name, namespace)
        self._change(lambda: self._nodes.append(record))
        return record

    def remove_node(self, record: NodeRecord) -> None:
        """Withdraw a node."""
        self._change(lambda: self._nodes.remove(record) if record in self._nodes else None)

    def add_endpoints(
        self, record: NodeRecord, readers: Iterable[bytes], writers: Iterable[bytes]
    ) -> None:
        """Announce that endpoints belong to a node."""

        def apply() -> None:
            record.readers.extend(readers)
            record.writers.extend(writers)

        self._change(apply)

    def remove_endpoints(self, record: NodeRecord, guids: Iterable[bytes]) -> None:
        """Withdraw endpoints of a node."""
        gone = set(guids)

        def apply() -> None:
            record.readers[:] = [guid for guid in record.readers if guid not in gone]
            record.writers[:] = [guid for guid in record.writers if guid not in gone]

        self._change(apply)

    def _change(self, apply: Callable[[], Any]) -> None:
        gid = message_class("rmw_dds_common/msg/Gid")
        info = message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        with self._lock:
            apply()
            message = message_class(_INFO_TYPE)(
                gid=gid(data=self.guid),
                node_entities_info_seq=[
                    info(
                        node_namespace=node.namespace,
                        node_name=node.name,
                        reader_gid_seq=[gid(data=guid) for guid in node.readers],
                        writer_gid_seq=[gid(data=guid) for guid in node.writers],
                    )
                    for node in self._nodes
                ],
            )
            self._info_writer.write(serialize(message))

    # What we learn about others

    def endpoints(self, writers: bool) -> list[Endpoint]:
        """All writers or readers in the domain that are alive."""
        reader = self._publications if writers else self._subscriptions
        with self._builtin_lock:  # reading one of these from two threads at once crashes
            # Asked for at command rate, and reading takes milliseconds: only when there is news.
            if writers not in self._endpoints or reader.get_status_changes() & _NEWS:
                self._endpoints[writers] = [
                    Endpoint(sample.key.bytes, sample.topic_name, sample.type_name, sample.qos)
                    for sample in reader.read(N=10000)
                    if sample.sample_info.valid_data and sample.sample_info.instance_state == _ALIVE
                ]
            return self._endpoints[writers]

    def nodes(self) -> list[tuple[str, str, set[bytes], set[bytes]]]:
        """(name, namespace, reader GUIDs, writer GUIDs) of every node in the domain."""
        with self._lock:
            while (sample := self._info_reader.take()) is not None:
                message = deserialize(sample[0], message_class(_INFO_TYPE))
                self._infos[bytes(message.gid.data)] = message
            # A participant that died leaves its last message behind; its endpoints are gone.
            alive = {endpoint.guid[:12] for endpoint in self.endpoints(writers=True)}
            self._infos = {gid: info for gid, info in self._infos.items() if gid[:12] in alive}
            infos = list(self._infos.values())
        return [
            (
                node.node_name,
                node.node_namespace,
                {bytes(gid.data) for gid in node.reader_gid_seq},
                {bytes(gid.data) for gid in node.writer_gid_seq},
            )
            for info in infos
            for node in info.node_entities_info_seq
        ]


def user_data_value(qos: Any, key: str) -> str | None:
    """Value of ``key=value;`` in the user data of an endpoint."""
    data = next(
        (
            bytes(item.data)
            for item in qos
            if hasattr(item, "data") and "Userdata" in getattr(item, "__scope__", "")
        ),
        b"",
    )
    match = re.search(rf"(?:^|;){key}=([^;]*);", data.decode("utf-8", "replace"))
    return match[1] if match else None


@functools.cache
def ros_type(dds_type: str) -> str:
    """Turn ``std_msgs::msg::dds_::String_`` into ``std_msgs/msg/String``."""
    parts = dds_type.split("::")
    if len(parts) == 4 and parts[2] == "dds_" and parts[3].endswith("_"):
        return f"{parts[0]}/{parts[1]}/{parts[3][:-1]}"
    return dds_type
