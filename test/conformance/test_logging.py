# SPDX-License-Identifier: Apache-2.0
"""Loggers and /rosout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rcl_interfaces.msg import Log
from rclpy.logging import LoggingSeverity, get_logger, get_logger_effective_level, set_logger_level
from rclpy.qos import DurabilityPolicy, QoSProfile

from .conftest import Graph


@pytest.fixture
def console(capfd: Any) -> Iterator[Any]:
    """What was written since the last call."""

    def read() -> str:
        captured = capfd.readouterr()
        return captured.out + captured.err

    yield read


def test_console_format(graph: Graph, console: Any) -> None:
    node = graph.node("talker", namespace="/ns")
    assert node.get_logger().name == "ns.talker"
    node.get_logger().info("hello")
    node.get_logger().warning("careful")
    node.get_logger().error("broken")
    text = console()
    assert "[INFO] [" in text
    assert "[ns.talker]: hello" in text
    assert "[WARN] [" in text
    assert "[ERROR] [" in text


def test_levels(graph: Graph, console: Any) -> None:
    logger = graph.node("quiet").get_logger()
    assert not logger.is_enabled_for(LoggingSeverity.DEBUG)
    logger.debug("hidden")
    logger.set_level(LoggingSeverity.DEBUG)
    assert logger.get_effective_level() == LoggingSeverity.DEBUG
    logger.debug("shown")
    child = logger.get_child("part")
    assert child.name == "quiet.part"
    assert child.get_effective_level() == LoggingSeverity.DEBUG
    logger.set_level(LoggingSeverity.ERROR)
    logger.warning("hidden")
    text = console()
    assert "shown" in text
    assert "hidden" not in text
    set_logger_level("by_name", LoggingSeverity.FATAL)
    assert get_logger_effective_level("by_name") == LoggingSeverity.FATAL
    assert get_logger("by_name.child").get_effective_level() == LoggingSeverity.FATAL


def test_once_skip_first_and_throttle(graph: Graph, console: Any) -> None:
    logger = graph.node("filtered").get_logger()
    for number in range(5):
        logger.info(f"once {number}", once=True)
        logger.info(f"skip {number}", skip_first=True)
        logger.info(f"throttle {number}", throttle_duration_sec=60.0)
    text = console()
    assert "once 0" in text
    assert "once 1" not in text
    assert "skip 0" not in text
    assert "skip 4" in text
    assert "throttle 0" in text
    assert "throttle 1" not in text


def test_rosout(graph: Graph) -> None:
    listener = graph.node("listener")
    received: list[Any] = []
    qos = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.create_subscription(Log, "/rosout", received.append, qos)
    node = graph.node("talker")
    node.get_logger().error("it is broken")

    def found() -> list[Any]:
        return [message for message in received if message.msg == "it is broken"]

    assert graph.until(found)
    (message,) = found()
    assert message.name == "talker"
    assert message.level == 40
    assert message.function == "test_rosout"
    assert message.file.endswith("test_logging.py")
    assert message.line > 0
    assert message.stamp.sec > 10**9


def test_node_without_rosout(graph: Graph) -> None:
    node = graph.node("silent", enable_rosout=False)
    assert all(publisher.topic_name != "/rosout" for publisher in node.publishers)
