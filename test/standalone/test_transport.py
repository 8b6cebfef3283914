# SPDX-License-Identifier: Apache-2.0
"""The DDS layer: images between processes, domains, configuration, what peers are told."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_infoentropy_ros.bench import transport
from vla_infoentropy_ros.standalone import dds

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def context() -> Any:
    """A context in a random domain."""
    built = Context()
    rclpy.init(args=[], context=built, domain_id=random.SystemRandom().randint(1, 200))
    yield built
    built.try_shutdown()


def test_images_between_processes_arrive_without_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    code = transport.main(["--frames", "150", "--rate", "30", "--json", str(file)])
    with capsys.disabled():
        print("\n" + capsys.readouterr().out.strip())
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert code == 0
    assert (figures["received"], figures["lost"]) == (150, 0)
    assert figures["median_ms"] > 0


def test_benchmark_refuses_nonsense() -> None:
    with pytest.raises(SystemExit):
        transport.main(["--frames", "0"])


def test_writer_that_is_not_read_does_not_block_for_long(context: Context) -> None:
    node = Node("writer", context=context)
    everything = QoSProfile(history=2, depth=0)
    node.create_subscription(String, "slow", lambda m: None, everything)  # never spun
    publisher = node.create_publisher(String, "slow", everything)
    start = time.monotonic()
    for _ in range(20):
        publisher.publish(String(data="x" * 100_000))
    assert time.monotonic() - start < 20 * (dds.WRITE_TIMEOUT_NS / 1e9 + 0.2)
    node.destroy_node()


def test_domain_out_of_range() -> None:
    with pytest.raises(RuntimeError, match=r"233.*\[0, 232\]"):
        rclpy.init(args=[], context=Context(), domain_id=233)


def test_domain_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "87")
    chosen = Context()
    rclpy.init(args=[], context=chosen)
    assert chosen.get_domain_id() == 87
    chosen.shutdown()
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(RuntimeError, match="'many'"):
        rclpy.init(args=[], context=Context())


def test_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    monkeypatch.delenv("ROS_STATIC_PEERS", raising=False)
    local = dds.default_config()
    assert 'name="lo"' in local
    assert "<AllowMulticast>false</AllowMulticast>" in local
    monkeypatch.setenv("ROS_STATIC_PEERS", "10.0.0.2;robot")
    assert '<Peer address="robot"/>' in dds.default_config()
    assert 'name="lo"' not in dds.default_config()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert "<AllowMulticast>spdp</AllowMulticast>" in dds.default_config()


def test_wire_names_and_user_data(context: Context) -> None:
    """What ROS 2 peers expect to see of us."""
    from rclpy.impl.participant import user_data_value

    node = Node("talker", namespace="/ns", context=context)
    node.create_publisher(String, "chatter", 10)
    node.create_service(Trigger, "~/go", lambda request, response: response)
    participant = context.participant
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        writers = {item.topic: item for item in participant.endpoints(writers=True)}
        readers = {item.topic: item for item in participant.endpoints(writers=False)}
        if "rt/ns/chatter" in writers and "rq/ns/talker/goRequest" in readers:
            break
    chatter = writers["rt/ns/chatter"]
    assert chatter.type_name == "std_msgs::msg::dds_::String_"
    assert str(user_data_value(chatter.qos, "typehash")).startswith("RIHS01_")
    request, reply = readers["rq/ns/talker/goRequest"], writers["rr/ns/talker/goReply"]
    assert request.type_name == "std_srvs::srv::dds_::Trigger_Request_"
    assert reply.type_name == "std_srvs::srv::dds_::Trigger_Response_"
    service = user_data_value(request.qos, "serviceid")
    assert service is not None
    assert user_data_value(reply.qos, "serviceid") == service
    (found,) = [entry for entry in participant.nodes() if entry[0] == "talker"]
    assert found[1] == "/ns"
    assert chatter.guid in found[3]
    node.destroy_node()
    assert participant.nodes() == []


def test_malformed_samples_are_dropped_with_a_message(
    context: Context, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    node = Node("careful", context=context)
    subscription = node.create_subscription(String, "broken", lambda m: None, 10)
    monkeypatch.setattr(
        subscription.handle, "take", lambda: (b"\x00\x01\x00\x00\xff\xff\xff\x7f", None)
    )
    assert subscription.take() is None
    assert "'/broken' dropped" in capfd.readouterr().err
    node.destroy_node()


def test_process_with_open_contexts_ends() -> None:
    """Threads of Cyclone DDS must not wait for an interpreter that is being finalised."""
    code = (
        "from vla_infoentropy_ros.standalone import ensure_rclpy\n"
        "ensure_rclpy()\n"
        "import random, rclpy\n"
        "from rclpy.context import Context\n"
        "from rclpy.node import Node\n"
        "kept = []\n"
        "for index in range(12):\n"
        "    context = Context()\n"
        "    rclpy.init(args=[], context=context, domain_id=random.randint(1, 200))\n"
        "    nodes = [Node(f'n{i}', context=context) for i in range(2)]\n"
        "    nodes[0].destroy_node()\n"
        "    if index % 2:\n"
        "        context.shutdown()\n"
        "    if index % 3 == 0:\n"
        "        kept.append((context, nodes))\n"
        "print('end')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


def test_missing_dependency_is_named() -> None:
    code = (
        "import sys; sys.modules['cyclonedds'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda n, p=None: None if n in ('rclpy', 'cyclonedds') else found(n, p)\n"
        "from vla_infoentropy_ros.standalone import ensure_rclpy\n"
        "ensure_rclpy()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 1
    assert "pip install 'cyclonedds==11.0.1'" in result.stderr


def test_the_shipped_configuration_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/ros.md gives a ROS 2 machine must describe the loopback that our nodes join."""
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    monkeypatch.delenv("ROS_STATIC_PEERS", raising=False)

    def settings(element: ElementTree.Element) -> Any:
        children = sorted((settings(child) for child in element), key=repr)
        return element.tag, sorted(element.items()), (element.text or "").strip(), children

    shipped = ElementTree.parse(ROOT / "config" / "cyclonedds.xml").getroot()
    assert settings(shipped) == settings(ElementTree.fromstring(dds.default_config()))
