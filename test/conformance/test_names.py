# SPDX-License-Identifier: Apache-2.0
"""Names: expansion, validation, remapping, command-line arguments, parameter files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidTopicNameException,
)
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Empty

from .conftest import Graph


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("topic", "/ns/topic"),
        ("a/b", "/ns/a/b"),
        ("/absolute", "/absolute"),
        ("~/private", "/ns/node/private"),
        ("{node}/x", "/ns/node/x"),
    ],
)
def test_expansion(graph: Graph, name: str, full: str) -> None:
    node = graph.node("node", namespace="ns")
    assert node.get_namespace() == "/ns"
    assert node.get_fully_qualified_name() == "/ns/node"
    assert node.create_publisher(String, name, 1).topic_name == full
    assert node.create_client(Empty, name).srv_name.endswith(name.rsplit("/", 1)[-1])
    assert node.resolve_topic_name(name) == full
    assert node.resolve_service_name(name) == full


@pytest.mark.parametrize("name", ["", "1abc", "a b", "a//b", "a/", "a~b", "ä"])
def test_bad_topic_names(graph: Graph, name: str) -> None:
    with pytest.raises((InvalidTopicNameException, ValueError)):
        graph.node().create_publisher(String, name, 1)


@pytest.mark.parametrize("name", ["", "1abc", "a/b", "a-b", "ä"])
def test_bad_node_names(graph: Graph, name: str) -> None:
    with pytest.raises(InvalidNodeNameException):
        graph.node(name)


@pytest.mark.parametrize("namespace", ["/a/", "/1", "/a-b", "//"])
def test_bad_namespaces(graph: Graph, namespace: str) -> None:
    with pytest.raises(InvalidNamespaceException):
        graph.node(namespace=namespace)


def test_remapping_of_one_node(graph: Graph) -> None:
    node = graph.node(
        "node",
        namespace="/ns",
        cli_args=[
            "--ros-args",
            "-r",
            "image:=/camera/image",
            "-r",
            "~/reset:=reset",
            "-r",
            "/absolute:=relative",
        ],
    )
    assert node.create_publisher(String, "image", 1).topic_name == "/camera/image"
    assert node.create_publisher(String, "/ns/image", 1).topic_name == "/camera/image"
    assert node.resolve_service_name("~/reset") == "/ns/reset"
    assert node.create_publisher(String, "/absolute", 1).topic_name == "/ns/relative"
    assert node.create_publisher(String, "other", 1).topic_name == "/ns/other"
    # The graph is asked for the name that is given, not for what it was remapped to.
    assert graph.until(lambda: node.count_publishers("/camera/image") == 2)
    assert node.count_publishers("image") == 0
    assert node.count_publishers(node.resolve_topic_name("image")) == 2


def test_name_and_namespace_from_arguments(graph: Graph) -> None:
    node = graph.node(
        "node", cli_args=["--ros-args", "-r", "__node:=renamed", "-r", "__ns:=/robot/left"]
    )
    assert (node.get_name(), node.get_namespace()) == ("renamed", "/robot/left")
    assert node.create_publisher(String, "~/x", 1).topic_name == "/robot/left/renamed/x"
    assert node.get_logger().name == "robot.left.renamed"


def test_rule_for_a_named_node(graph: Graph) -> None:
    rules = ["--ros-args", "-r", "first:x:=/only_first"]
    first = graph.node("first", cli_args=rules)
    second = graph.node("second", cli_args=rules)
    assert first.resolve_topic_name("x") == "/only_first"
    assert second.resolve_topic_name("x") == "/x"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2.5", -2.5),
        ("true", True),
        ("word", "word"),
        ("'1'", "1"),
        ("[1, 2]", [1, 2]),
        ("[1.5, 2.0]", [1.5, 2.0]),
        ("['a', 'b']", ["a", "b"]),
        ("1e3", 1000.0),
        ("[true, false]", [True, False]),
        ("1.", 1.0),
    ],
)
def test_parameter_values(graph: Graph, text: str, value: Any) -> None:
    node = graph.node(
        "node",
        cli_args=["--ros-args", "-p", f"given:={text}"],
        automatically_declare_parameters_from_overrides=True,
    )
    found = node.get_parameter("given").value
    assert (list(found) if isinstance(value, list) else found) == value
    assert type(found) is type(value) or isinstance(value, list)


def test_parameter_files(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        """
/**:
  ros__parameters:
    everywhere: 1
    nested: {deep: {value: 2.5}}
target:
  ros__parameters:
    only_root: true
/robot/target:
  ros__parameters:
    only_robot: [1, 2]
/*/target:
  ros__parameters:
    one_level: text
""",
        encoding="utf-8",
    )

    def overrides(name: str, namespace: str, *extra: str) -> dict[str, Any]:
        node = graph.node(
            name,
            namespace=namespace,
            cli_args=["--ros-args", "--params-file", str(file), *extra],
            automatically_declare_parameters_from_overrides=True,
        )
        found = node.get_parameters_by_prefix("")
        found.pop("use_sim_time", None)
        return {
            key: list(item.value) if hasattr(item.value, "tolist") else item.value
            for key, item in found.items()
            if not key.startswith("start_type")
        }

    everywhere = {"everywhere": 1, "nested.deep.value": 2.5}
    assert overrides("other", "/") == everywhere
    assert overrides("target", "/") == everywhere | {"only_root": True}
    assert overrides("target", "/robot") == everywhere | {"only_robot": [1, 2], "one_level": "text"}
    assert overrides("last", "/", "-p", "everywhere:=9")["everywhere"] == 9


def test_arguments_of_the_process() -> None:
    context = Context()
    arguments = [
        "program",
        "own",
        "--ros-args",
        "-r",
        "__node:=global",
        "-p",
        "n:=4",
        "-r",
        "a:=b",
        "--log-level",
        "warn",
        "--",
        "--flag",
    ]
    rclpy.init(args=arguments, context=context, domain_id=199)
    try:
        assert rclpy.utilities.remove_ros_args(arguments) == ["program", "own", "--flag"]
        node = Node("given", context=context)
        assert node.get_name() == "global"
        assert node.declare_parameter("n", 1).value == 4
        assert node.resolve_topic_name("a") == "/b"
        aside = Node("aside", context=context, use_global_arguments=False)
        assert aside.get_name() == "aside"
        assert aside.declare_parameter("n", 1).value == 1
        node.destroy_node()
        aside.destroy_node()
    finally:
        context.try_shutdown()
        from rclpy.logging import LoggingSeverity, set_logger_level

        set_logger_level("", LoggingSeverity.INFO)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ros-args", "--nonsense"],
        ["--ros-args", "-p", "noassign"],
        ["--ros-args", "-r"],
        ["--ros-args", "--params-file", "/does/not/exist.yaml"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    context = Context()
    with pytest.raises(Exception, match=r"."):
        rclpy.init(args=["program", *arguments], context=context, domain_id=199)


def test_domain_id(graph: Graph) -> None:
    assert graph.context.get_domain_id() == graph.domain_id
    with pytest.raises(RuntimeError):
        rclpy.init(args=[], context=Context(), domain_id=-3)
