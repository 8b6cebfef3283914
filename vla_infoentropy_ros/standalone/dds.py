# SPDX-License-Identifier: Apache-2.0
"""Thin layer over the Cyclone DDS binding: participants, writers and readers of CDR bytes."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import threading
from dataclasses import dataclass, replace
from typing import Any

from cyclonedds import _clayer
from cyclonedds.core import DDSException, DDSStatus, Entity, ReadCondition, WaitSet
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.pub import DataWriter, Publisher
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader, Subscriber
from cyclonedds.topic import Sample, Topic

from .dds_types import idl_struct
from .typestore import registry

INFINITE = 2**63 - 1
ANY_STATE = 0x7F  # every sample, view and instance state
# A reliable writer whose readers are too slow blocks; never for longer than this.
WRITE_TIMEOUT_NS = 200_000_000
MAX_DOMAIN_ID = 232

_domains: dict[int, Domain] = {}
_domains_lock = threading.Lock()


@atexit.register
def _close_domains() -> None:
    """Stop the threads of Cyclone DDS while Python is still complete.

    They take the interpreter lock to release type descriptions. Once the interpreter is being
    finalised they never get it, and the deletion of the domain would wait for them for ever.
    Participants are closed before, by the exit handlers of their contexts.
    """
    with _domains_lock:
        domains = list(_domains.values())
        _domains.clear()
    for domain in domains:
        close(domain)


class TransportError(RuntimeError):
    """The DDS layer refused an operation."""


@dataclass(frozen=True)
class EndpointQos:
    """Policies of one writer or reader; durations in nanoseconds, 0 means not set."""

    reliable: bool = True
    transient_local: bool = False
    keep_all: bool = False
    depth: int = 1
    deadline: int = 0
    lifespan: int = 0
    manual_liveliness: bool = False
    lease: int = 0
    user_data: str = ""

    def to_dds(self) -> Qos:
        """Return the same policies as an object of the binding."""
        history = Policy.History.KeepAll if self.keep_all else Policy.History.KeepLast(self.depth)
        lease = self.lease or INFINITE
        policies = [
            history,
            Policy.Reliability.Reliable(WRITE_TIMEOUT_NS)
            if self.reliable
            else Policy.Reliability.BestEffort,
            Policy.Liveliness.ManualByTopic(lease)
            if self.manual_liveliness
            else Policy.Liveliness.Automatic(lease),
            Policy.WriterDataLifecycle(autodispose=False),
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(self.user_data.encode()),
        ]
        if self.transient_local:
            policies += [
                Policy.Durability.TransientLocal,
                # Cyclone DDS keeps historical data by this policy, not by History.
                Policy.DurabilityService(0, history, -1, -1, -1),
            ]
        else:
            policies.append(Policy.Durability.Volatile)
        if self.deadline:
            policies.append(Policy.Deadline(self.deadline))
        if self.lifespan:
            policies.append(Policy.Lifespan(self.lifespan))
        return Qos(*policies)


_STATUS_BITS = {
    "offered_deadline_missed": DDSStatus.OfferedDeadlineMissed,
    "requested_deadline_missed": DDSStatus.RequestedDeadlineMissed,
    "offered_incompatible_qos": DDSStatus.OfferedIncompatibleQos,
    "requested_incompatible_qos": DDSStatus.RequestedIncompatibleQos,
    "sample_lost": DDSStatus.SampleLost,
    "liveliness_lost": DDSStatus.LivelinessLost,
    "liveliness_changed": DDSStatus.LivelinessChanged,
    "publication_matched": DDSStatus.PublicationMatched,
    "subscription_matched": DDSStatus.SubscriptionMatched,
}


def watch_statuses(entity: Entity, names: list[str]) -> int:
    """Let the entity trigger wait sets when one of the statuses changes; return their bits."""
    mask: int = sum(_STATUS_BITS[name] for name in names)
    entity.set_status_mask(mask)
    return mask


def statuses_changed(entity: Entity, mask: int) -> bool:
    """Whether a status of the mask changed since it was taken."""
    try:
        # Changes of statuses that nobody watches are reported too.
        return bool(entity.get_status_changes() & mask)
    except DDSException:
        return False  # closed while an executor was looking at it


def take_status(entity: Entity, name: str) -> Any:
    """Read a status and reset its change counters."""
    return getattr(entity, f"get_{name}_status")()


def default_config() -> str:
    """Cyclone DDS configuration used when the user gives none.

    Loopback only: unicast discovery over a peer list needs no multicast route, and a laptop on a
    shared network does not drive somebody else's robot. ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET
    opens it to the network; ROS_STATIC_PEERS adds machines by address.
    """
    on_network = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "SUBNET"
    peers = [peer for peer in os.environ.get("ROS_STATIC_PEERS", "").split(";") if peer]
    local = not on_network and not peers
    interfaces = (
        '<Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>' if local else ""
    )
    peer_list = "".join(f'<Peer address="{peer}"/>' for peer in ["localhost", *peers])
    multicast = "spdp" if on_network else "false"
    # Fragments just below the largest UDP datagram: with the default of 1344 bytes an image is
    # 700 datagrams, more than a receive buffer of 208 kB holds.
    return (
        f"<CycloneDDS><Domain><General>{interfaces}<AllowMulticast>{multicast}</AllowMulticast>"
        "<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>64000B</FragmentSize></General>"
        "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
        "<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
        f"<Peers>{peer_list}</Peers></Discovery>"
        # As much as the system allows: while the reader is held up, frames wait here.
        '<Internal><SocketReceiveBufferSize max="16MB"/></Internal></Domain></CycloneDDS>'
    )


@functools.cache
def keep_freed_pages() -> None:
    """Let the allocator keep large freed blocks instead of returning them to the kernel.

    Every 0.9 MB frame otherwise pays for mapping and clearing its pages again, which doubles the
    latency of an image. Does nothing where the C library has no ``mallopt``.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_threshold, 64 << 20)
        libc.mallopt(m_trim_threshold, 256 << 20)


def create_participant(domain_id: int, enclave: str = "/") -> DomainParticipant:
    """Join a domain, with our loopback configuration unless CYCLONEDDS_URI is set."""
    if not 0 <= domain_id <= MAX_DOMAIN_ID:
        raise TransportError(
            f"Domain id {domain_id} is out of range [0, {MAX_DOMAIN_ID}]. "
            "Set ROS_DOMAIN_ID to a value inside it."
        )
    keep_freed_pages()
    try:
        if not os.environ.get("CYCLONEDDS_URI"):
            with _domains_lock:
                if domain_id not in _domains:
                    _domains[domain_id] = Domain(domain_id, default_config())
        return DomainParticipant(domain_id, Qos(Policy.Userdata(f"enclave={enclave};".encode())))
    except DDSException as error:
        raise TransportError(
            f"Cannot join DDS domain {domain_id}: {error}. With the loopback configuration a "
            "domain holds 33 processes: end some, choose another ROS_DOMAIN_ID, or set "
            "CYCLONEDDS_URI."
        ) from error


def close(entity: Entity | None) -> None:
    """Delete an entity now; harmless when it is gone already."""
    if entity is not None:
        with contextlib.suppress(DDSException):
            entity.__del__()


def guid_bytes(entity: Entity) -> bytes:
    """Return the 16-byte GUID of a local entity."""
    return bytes(entity.get_guid().bytes)


def topic_for(
    participant: DomainParticipant, name: str, type_name: str, with_request_id: bool
) -> Topic:
    """Create a topic entity."""
    try:
        return Topic(participant, name, idl_struct(type_name, with_request_id))
    except DDSException as error:
        raise TransportError(
            f"Cannot create topic {name!r} with type {type_name!r}: {error}. "
            "Does another endpoint in this process use the name with another type?"
        ) from error


def _with_type_hash(qos: EndpointQos, type_name: str) -> EndpointQos:
    return replace(qos, user_data=f"{qos.user_data}typehash={registry().type_hash(type_name)};")


class Waiter:
    """Waits until one of a changing set of conditions triggers."""

    def __init__(self, participant: DomainParticipant) -> None:
        """Create the wait set, empty."""
        self._set = WaitSet(participant)
        self._watched: dict[int, Entity] = {}

    def watch(self, wanted: list[Entity]) -> None:
        """Make the wait set hold exactly these conditions."""
        by_handle = {entity._ref: entity for entity in wanted}
        # The handles are passed directly: the list that the binding keeps of attached entities
        # would hold on to those that were deleted meanwhile.
        for handle in self._watched.keys() - by_handle.keys():
            self._set._waitset_detach(self._set._ref, handle)
        for handle in by_handle.keys() - self._watched.keys():
            if self._set._waitset_attach(self._set._ref, handle, None) < 0:
                del by_handle[handle]  # deleted meanwhile
        self._watched = by_handle

    def wait(self, timeout_ns: int) -> None:
        """Block until a condition triggers or the time is over."""
        self._set.wait(timeout_ns)

    def close(self) -> None:
        """Delete the wait set."""
        close(self._set)


def _described(handles: list[int], describe: Any) -> list[Any]:
    """Descriptions of matched endpoints; those that vanish meanwhile are left out."""
    return [found for handle in handles if (found := describe(handle)) is not None]


_dds_write = Entity._dll_handle.dds_write
_dds_write.argtypes = [ctypes.c_int32, ctypes.POINTER(Sample)]
_dds_write.restype = ctypes.c_int32


class Writer:
    """Writes CDR bytes to one topic."""

    def __init__(
        self,
        publisher: Publisher,
        topic: Topic,
        name: str,
        type_name: str,
        qos: EndpointQos,
    ) -> None:
        """Create the writer."""
        self.topic_name = name
        self.entity = DataWriter(publisher, topic, _with_type_hash(qos, type_name).to_dds())
        self.guid = guid_bytes(self.entity)
        self._ref = self.entity._ref

    def write(self, data: bytes) -> None:
        """Send one sample; blocks at most ``WRITE_TIMEOUT_NS`` and drops the sample then."""
        # Not through the binding's own write function: that keeps the interpreter lock, so every
        # other Python thread would wait while an image is sent or a full queue drains.
        sample = Sample(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data))
        result = _dds_write(self._ref, ctypes.byref(sample))
        if result == DDSException.DDS_RETCODE_TIMEOUT:
            raise TimeoutError(
                f"A sample of {len(data)} bytes on {self.topic_name!r} was not accepted within "
                f"{WRITE_TIMEOUT_NS / 1e9:g} s: a reliable subscriber reads too slowly. "
                "Use best-effort or a smaller rate."
            )
        if result < 0:
            raise TransportError(f"Write on {self.topic_name!r} failed: {DDSException(result, '')}")

    def instance_handle(self) -> int:
        """Local handle of the writer; identifies it in requests and replies."""
        handle: int = self.entity.get_instance_handle()
        return handle % 2**64

    def matched(self) -> list[Any]:
        """Descriptions of the readers that get what is written."""
        return _described(
            self.entity.get_matched_subscriptions(), self.entity.get_matched_subscription_data
        )

    def assert_liveliness(self) -> None:
        """Tell readers that the writer is alive."""
        Entity._dll_handle.dds_assert_liveliness(self._ref)

    def wait_for_acks(self, timeout_ns: int) -> bool:
        """Whether all reliable readers had everything within the time."""
        result: int = self.entity._wait_for_acks(self._ref, timeout_ns)
        if result in (0, DDSException.DDS_RETCODE_TIMEOUT):
            return result == 0
        raise TransportError(f"Waiting for acknowledgements failed: {DDSException(result, '')}")

    def close(self) -> None:
        """Delete the writer."""
        close(self.entity)


class Reader:
    """Takes CDR bytes from one topic."""

    def __init__(
        self,
        subscriber: Subscriber,
        topic: Topic,
        name: str,
        type_name: str,
        qos: EndpointQos,
    ) -> None:
        """Create the reader and the condition that a wait set watches."""
        self.topic_name = name
        # Lifespan is a policy of the writer only.
        qos = _with_type_hash(replace(qos, lifespan=0), type_name)
        self.entity = DataReader(subscriber, topic, qos.to_dds())
        self.condition = ReadCondition(self.entity, ANY_STATE)
        self.guid = guid_bytes(self.entity)
        self._ref = self.entity._ref

    def has_data(self) -> bool:
        """Whether :meth:`take` would find something."""
        try:
            return bool(self.condition.triggered)
        except DDSException:
            return False  # closed while an executor was looking at it

    def take(self) -> tuple[bytes, Any] | None:
        """Take the oldest sample as (CDR bytes, sample info); None when there is none."""
        while True:
            samples = _clayer.ddspy_take(self._ref, ANY_STATE, 1)
            if isinstance(samples, int) or not samples:
                return None
            data, info = samples[0]
            if info.valid_data:
                return data, info

    def matched_count(self) -> int:
        """Number of writers that are read from."""
        return len(self.entity.get_matched_publications())

    def matched(self) -> list[Any]:
        """Descriptions of the writers that are read from."""
        return _described(
            self.entity.get_matched_publications(), self.entity.get_matched_publication_data
        )

    def source(self, publication_handle: int) -> Any:
        """Return the description of one writer, or None when it is gone."""
        return self.entity.get_matched_publication_data(publication_handle)

    def close(self) -> None:
        """Delete condition and reader."""
        close(self.condition)
        close(self.entity)
