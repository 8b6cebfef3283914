# SPDX-License-Identifier: Apache-2.0
"""Parameters: declaration, descriptors, callbacks, services and events."""

from __future__ import annotations

from typing import Any

import pytest
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterEvent,
    ParameterType,
    SetParametersResult,
)
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import qos_profile_parameter_events

from .conftest import Graph

VALUES = [True, 7, -1.5, "text", [True, False], [1, 2], [0.5, 1.5], ["a", "b"], [b"\x01"]]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_declare_and_get(graph: Graph, value: Any) -> None:
    node = graph.node()
    declared = node.declare_parameter("p", value)
    assert declared.name == "p"
    assert declared.value == value
    assert node.get_parameter("p").value == value
    assert node.get_parameter("p").type_ == Parameter.Type.from_parameter_value(value)
    back = Parameter.from_parameter_msg(declared.to_parameter_msg()).value
    assert (list(back) if isinstance(value, list) else back) == value


def test_undeclared_and_twice(graph: Graph) -> None:
    node = graph.node()
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter("p")
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("p", value=1)])
    assert node.get_parameter_or("p", Parameter("p", value=3)).value == 3
    node.declare_parameter("p", 1)
    with pytest.raises(ParameterAlreadyDeclaredException):
        node.declare_parameter("p", 1)
    node.undeclare_parameter("p")
    assert not node.has_parameter("p")


def test_static_typing(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("rate", 30.0)
    (result,) = node.set_parameters([Parameter("rate", value=30)])
    assert not result.successful
    assert "type" in result.reason
    assert node.get_parameter("rate").value == 30.0
    with pytest.raises(ValueError):
        node.declare_parameter("nothing", None, ParameterDescriptor())


def test_dynamic_typing(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("any", 1, ParameterDescriptor(dynamic_typing=True))
    assert node.set_parameters([Parameter("any", value="text")])[0].successful
    assert node.get_parameter("any").value == "text"
    assert node.describe_parameter("any").type == ParameterType.PARAMETER_STRING


def test_declared_by_type_only(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("later", Parameter.Type.INTEGER)
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("later")
    assert node.set_parameters([Parameter("later", value=4)])[0].successful
    assert node.get_parameter("later").value == 4


def test_overrides(graph: Graph) -> None:
    overrides = [Parameter("a", value=2), Parameter("b.c", value="x"), Parameter("t", value="no")]
    node = graph.node(parameter_overrides=overrides)
    assert node.declare_parameter("a", 1).value == 2
    assert node.declare_parameter("b.c", "y").value == "x"
    assert node.declare_parameter("d", 3).value == 3
    with pytest.raises(InvalidParameterTypeException):
        node.declare_parameter("t", 5)
    ignoring = graph.node("ignoring", parameter_overrides=overrides)
    assert ignoring.declare_parameter("a", 1, ignore_override=True).value == 1
    automatic = graph.node(
        "automatic",
        parameter_overrides=overrides,
        automatically_declare_parameters_from_overrides=True,
    )
    assert automatic.get_parameter("b.c").value == "x"


def test_integer_range(graph: Graph) -> None:
    node = graph.node()
    limits = ParameterDescriptor(integer_range=[IntegerRange(from_value=2, to_value=10, step=4)])
    node.declare_parameter("n", 6, limits)
    for value, accepted in ((2, True), (6, True), (10, True), (4, False), (1, False), (11, False)):
        result = node.set_parameters([Parameter("n", value=value)])[0]
        assert result.successful is accepted, value
    assert "n" in result.reason
    with pytest.raises(InvalidParameterValueException):
        node.declare_parameter("m", 99, limits)
    assert not node.has_parameter("m")


def test_floating_point_range(graph: Graph) -> None:
    node = graph.node()
    limits = ParameterDescriptor(
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0, step=0.25)]
    )
    node.declare_parameter("x", 0.5, limits)
    for value, accepted in ((0.0, True), (1.0, True), (0.75, True), (0.3, False), (1.1, False)):
        assert node.set_parameters([Parameter("x", value=value)])[0].successful is accepted, value


def test_read_only(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("fixed", 1, ParameterDescriptor(read_only=True))
    result = node.set_parameters([Parameter("fixed", value=2)])[0]
    assert not result.successful
    assert "read-only" in result.reason
    assert node.get_parameter("fixed").value == 1


def test_callbacks_run_in_order_and_can_refuse(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("a", 1)
    log: list[str] = []

    def before(parameters: list[Parameter]) -> list[Parameter]:
        log.append("pre")
        return parameters

    def check(parameters: list[Parameter]) -> SetParametersResult:
        log.append("on")
        return SetParametersResult(successful=parameters[0].value < 10, reason="too large")

    def after(parameters: list[Parameter]) -> None:
        log.append(f"post {node.get_parameter('a').value}")

    node.add_pre_set_parameters_callback(before)
    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(after)
    assert node.set_parameters([Parameter("a", value=5)])[0].successful
    assert log == ["pre", "on", "post 5"]
    result = node.set_parameters([Parameter("a", value=50)])[0]
    assert (result.successful, result.reason) == (False, "too large")
    assert node.get_parameter("a").value == 5
    node.remove_on_set_parameters_callback(check)
    assert node.set_parameters([Parameter("a", value=50)])[0].successful


def test_callback_runs_at_declaration(graph: Graph) -> None:
    node = graph.node()
    node.add_on_set_parameters_callback(
        lambda parameters: SetParametersResult(successful=False, reason="never")
    )
    with pytest.raises(InvalidParameterValueException, match="never"):
        node.declare_parameter("a", 1)


def test_newest_callback_is_asked_first(graph: Graph) -> None:
    node = graph.node()
    node.declare_parameter("a", 1)
    order: list[int] = []
    for number in (1, 2):
        node.add_on_set_parameters_callback(
            lambda parameters, n=number: (order.append(n), SetParametersResult(successful=True))[1]
        )
    node.set_parameters([Parameter("a", value=2)])
    assert order == [2, 1]


def test_atomic_setting(graph: Graph) -> None:
    node = graph.node()
    limits = ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=5)])
    node.declare_parameter("a", 1)
    node.declare_parameter("b", 1, limits)
    both = [Parameter("a", value=3), Parameter("b", value=9)]
    assert not node.set_parameters_atomically(both).successful
    assert node.get_parameter("a").value == 1
    results = node.set_parameters(both)
    assert [result.successful for result in results] == [True, False]
    assert node.get_parameter("a").value == 3


def test_listing(graph: Graph) -> None:
    node = graph.node()
    for name in ("top", "arm.speed", "arm.limits.low"):
        node.declare_parameter(name, 1)
    assert {"top", "arm.speed", "arm.limits.low", "use_sim_time"} <= set(
        node.list_parameters([], 0).names
    )
    assert set(node.list_parameters(["arm"], 0).names) == {"arm.speed", "arm.limits.low"}
    assert set(node.list_parameters(["arm"], 1).names) == {"arm.speed"}
    assert set(node.get_parameters_by_prefix("arm")) == {"speed", "limits.low"}


def test_services(graph: Graph) -> None:
    node, user = graph.node("target"), graph.node("user")
    limits = ParameterDescriptor(
        description="how fast", integer_range=[IntegerRange(from_value=0, to_value=5)]
    )
    node.declare_parameter("speed", 1, limits)
    node.declare_parameter("names", ["a"])

    def call(srv_type: Any, name: str, **fields: Any) -> Any:
        return graph.call(user, srv_type, f"target/{name}", srv_type.Request(**fields))

    values = call(GetParameters, "get_parameters", names=["speed", "names"]).values
    assert [parameter_value_to_python(value) for value in values] == [1, ["a"]]
    assert call(GetParameters, "get_parameters", names=["unknown"]).values == []
    types = call(GetParameterTypes, "get_parameter_types", names=["speed"]).types
    assert list(types) == [ParameterType.PARAMETER_INTEGER]
    (found,) = call(DescribeParameters, "describe_parameters", names=["speed"]).descriptors
    assert (found.name, found.description) == ("speed", "how fast")
    assert found.integer_range[0].to_value == 5
    assert "speed" in call(ListParameters, "list_parameters").result.names

    good = Parameter("speed", value=4).to_parameter_msg()
    bad = Parameter("speed", value=40).to_parameter_msg()
    unknown = Parameter("unknown", value=1).to_parameter_msg()
    results = call(SetParameters, "set_parameters", parameters=[good, bad, unknown]).results
    assert [result.successful for result in results] == [True, False, False]
    assert all(result.reason for result in results[1:])
    assert node.get_parameter("speed").value == 4
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=[good, bad])
    assert not result.result.successful


def test_without_services(graph: Graph) -> None:
    node = graph.node("silent", start_parameter_services=False)
    assert not [
        name
        for name, _ in node.get_service_names_and_types()
        if name.startswith("/silent/get_parameters")
    ]


def test_events(graph: Graph) -> None:
    watcher = graph.node("watcher")
    events: list[Any] = []
    watcher.create_subscription(
        ParameterEvent,
        "/parameter_events",
        lambda event: events.append(event) if event.node == "/ns/changing" else None,
        qos_profile_parameter_events,
    )
    node = graph.node("changing", namespace="/ns")
    assert graph.until(lambda: watcher.count_publishers("/parameter_events") == 2)
    graph.spin(0.2)
    node.declare_parameter("a", 1)
    node.set_parameters([Parameter("a", value=2)])
    assert graph.until(lambda: any(event.changed_parameters for event in events))
    assert [p.name for event in events for p in event.new_parameters if p.name == "a"] == ["a"]
    (changed,) = [p for event in events for p in event.changed_parameters]
    assert parameter_value_to_python(changed.value) == 2
