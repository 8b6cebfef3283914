# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscriptions: types, quality of service, counts."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseWithCovariance, Quaternion
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Empty, Float64, Header, Int64, String, UInt8MultiArray

from .conftest import Graph

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)

MESSAGES = [
    String(data="grüße \U0001f916"),
    Empty(),
    Bool(data=True),
    Float64(data=-1.25e300),
    Int64(data=-(2**63)),
    UInt8MultiArray(data=[1, 2, 255]),
    Image(
        header=Header(frame_id="camera"),
        height=2,
        width=2,
        encoding="rgb8",
        step=6,
        data=array.array("B", range(12)),
    ),
    JointState(name=["a", "b"], position=[1.0, -2.0], velocity=[], effort=[0.5]),
    PoseWithCovariance(covariance=np.arange(36.0)),
    DiagnosticArray(
        status=[
            DiagnosticStatus(
                level=DiagnosticStatus.WARN, name="n", values=[KeyValue(key="k", value="v")]
            )
        ]
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_message_arrives_equal(graph: Graph, message: Any) -> None:
    node = graph.node()
    received: list[Any] = []
    node.create_subscription(type(message), "topic", received.append, 10)
    publisher = node.create_publisher(type(message), "topic", 10)
    graph.match(publisher)
    publisher.publish(message)
    assert graph.until(lambda: received)
    assert received == [message]
    assert deserialize_message(serialize_message(message), type(message)) == message


def test_fields_have_the_types_of_ros(graph: Graph) -> None:
    assert Quaternion().w == 1.0
    assert isinstance(Image().data, array.array)
    assert Image().data.typecode == "B"
    assert isinstance(PoseWithCovariance().covariance, np.ndarray)
    assert PoseWithCovariance().covariance.dtype == np.float64
    assert DiagnosticStatus.ERROR == b"\x02"
    assert DiagnosticStatus().level == b"\x00"
    assert Header.get_fields_and_field_types() == {
        "stamp": "builtin_interfaces/Time",
        "frame_id": "string",
    }
    assert JointState.get_fields_and_field_types()["position"] == "sequence<double>"
    assert PoseWithCovariance.get_fields_and_field_types()["covariance"] == "double[36]"
    assert repr(String(data="x")) == "std_msgs.msg.String(data='x')"


def test_latched_message_reaches_late_subscription(graph: Graph) -> None:
    node = graph.node()
    publisher = node.create_publisher(String, "latched", LATCHED)
    for text in ("first", "second"):
        publisher.publish(String(data=text))
    received: list[str] = []
    node.create_subscription(String, "latched", lambda m: received.append(m.data), LATCHED)
    assert graph.until(lambda: received)
    graph.spin(0.1)
    assert received == ["second"]


def test_volatile_message_does_not_reach_late_subscription(graph: Graph) -> None:
    node = graph.node()
    publisher = node.create_publisher(String, "volatile", 10)
    publisher.publish(String(data="early"))
    received: list[str] = []
    node.create_subscription(String, "volatile", lambda m: received.append(m.data), 10)
    graph.match(publisher)
    publisher.publish(String(data="late"))
    assert graph.until(lambda: received)
    assert received == ["late"]


def test_keep_last_drops_the_oldest(graph: Graph) -> None:
    node = graph.node()
    received: list[int] = []
    qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=2)
    node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), qos)
    publisher = node.create_publisher(Int64, "numbers", 50)
    graph.match(publisher)
    for number in range(20):
        publisher.publish(Int64(data=number))
    assert graph.until(lambda: received and received[-1] == 19)
    # Nothing was taken before the spin, so the last two are all that is left, and one may have
    # come in while the first was handled.
    assert len(received) <= 4
    assert received == sorted(received)


def test_keep_all_keeps_all(graph: Graph) -> None:
    node = graph.node()
    received: list[int] = []
    qos = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), qos)
    publisher = node.create_publisher(Int64, "numbers", qos)
    graph.match(publisher)
    for number in range(100):
        publisher.publish(Int64(data=number))
    assert graph.until(lambda: len(received) == 100)
    assert received == list(range(100))


def test_reliable_publisher_serves_best_effort_subscription(graph: Graph) -> None:
    node = graph.node()
    received: list[Any] = []
    node.create_subscription(String, "mixed", received.append, qos_profile_sensor_data)
    publisher = node.create_publisher(String, "mixed", 10)
    graph.match(publisher)
    publisher.publish(String(data="x"))
    assert graph.until(lambda: received)


def test_incompatible_qos_is_reported(graph: Graph) -> None:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks

    node = graph.node()
    events: list[tuple[str, Any]] = []
    node.create_subscription(
        String,
        "wrong",
        lambda m: None,
        10,
        event_callbacks=SubscriptionEventCallbacks(
            incompatible_qos=lambda event: events.append(("subscription", event))
        ),
    )
    publisher = node.create_publisher(
        String,
        "wrong",
        BEST_EFFORT,
        event_callbacks=PublisherEventCallbacks(
            incompatible_qos=lambda event: events.append(("publisher", event))
        ),
    )
    assert graph.until(lambda: len(events) == 2)
    assert {side for side, _ in events} == {"subscription", "publisher"}
    assert all(event.total_count == 1 for _, event in events)
    assert publisher.get_subscription_count() == 0


def test_raw_subscription_gets_bytes(graph: Graph) -> None:
    node = graph.node()
    received: list[Any] = []
    node.create_subscription(String, "raw", received.append, 10, raw=True)
    publisher = node.create_publisher(String, "raw", 10)
    graph.match(publisher)
    publisher.publish(String(data="seven"))
    assert graph.until(lambda: received)
    assert isinstance(received[0], bytes)
    assert deserialize_message(received[0], String) == String(data="seven")


def test_serialised_message_can_be_published(graph: Graph) -> None:
    node = graph.node()
    received: list[str] = []
    node.create_subscription(String, "bytes", lambda m: received.append(m.data), 10)
    publisher = node.create_publisher(String, "bytes", 10)
    graph.match(publisher)
    publisher.publish(serialize_message(String(data="packed")))
    assert graph.until(lambda: received)
    assert received == ["packed"]


def test_callback_with_message_info(graph: Graph) -> None:
    node = graph.node()
    received: list[Any] = []

    def callback(message: Any, info: Any) -> None:
        received.append(info)

    node.create_subscription(String, "info", callback, 10)
    publisher = node.create_publisher(String, "info", 10)
    graph.match(publisher)
    publisher.publish(String())
    assert graph.until(lambda: received)
    assert received[0]["source_timestamp"] > 10**18


def test_wrong_use_is_refused(graph: Graph) -> None:
    node = graph.node()
    publisher = node.create_publisher(String, "strict", 10)
    with pytest.raises(TypeError):
        publisher.publish(Int64())
    with pytest.raises(TypeError):
        node.create_publisher(String, "strict", "10")
    with pytest.raises(ValueError):
        node.create_publisher(String, "strict", -1)
    with pytest.raises(RuntimeError):
        node.create_subscription(String, "strict", lambda: None, 10)


def test_counts_and_names(graph: Graph) -> None:
    node, other = graph.node("one"), graph.node("two", namespace="/ns")
    publisher = node.create_publisher(String, "/chatter", 10)
    assert publisher.topic_name == "/chatter"
    subscriptions = [other.create_subscription(String, "/chatter", print, 10) for _ in range(2)]
    graph.match(publisher, 2)
    assert graph.until(lambda: node.count_subscribers("/chatter") == 2)
    assert graph.until(lambda: other.count_publishers("/chatter") == 1)
    assert graph.until(
        lambda: ("/chatter", ["std_msgs/msg/String"]) in other.get_topic_names_and_types()
    )
    assert graph.until(
        lambda: {("one", "/"), ("two", "/ns")} <= set(node.get_node_names_and_namespaces())
    )
    assert other.destroy_subscription(subscriptions[0])
    graph.match(publisher, 1)
    assert node.count_publishers("/nothing") == 0


def test_qos_profile() -> None:
    profile = QoSProfile(depth=3)
    assert profile.history == HistoryPolicy.KEEP_LAST
    assert profile.reliability == ReliabilityPolicy.RELIABLE
    assert profile.durability == DurabilityPolicy.VOLATILE
    assert qos_profile_sensor_data.reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_profile_sensor_data.depth == 5
    assert QoSProfile(depth=3) == profile
    assert QoSProfile(depth=4) != profile
    with pytest.raises(Exception, match="History"):
        QoSProfile()
    with pytest.raises(AssertionError):
        QoSProfile(depth=1, colour="red")


def test_messages_of_this_package(graph: Graph) -> None:
    interfaces = pytest.importorskip("vla_infoentropy_ros.msg")
    node = graph.node()
    received: list[Any] = []
    node.create_subscription(interfaces.VlaAction, "action", received.append, 10)
    publisher = node.create_publisher(interfaces.VlaAction, "action", 10)
    graph.match(publisher)
    publisher.publish(interfaces.VlaAction(instruction="pick", step=3))
    assert graph.until(lambda: received)
    assert received[0] == interfaces.VlaAction(instruction="pick", step=3)
