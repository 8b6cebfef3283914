# SPDX-License-Identifier: Apache-2.0
"""ROS parameters made from the declared settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter

from vla_infoentropy_ros.driving.parameter_files import ros_own
from vla_infoentropy_ros.driving.parameter_specs import (
    ParameterSpec,
    group_specs,
    typed,
    unknown_parameter,
)
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.knobs import SettingError

G = TypeVar("G")



def declare_group(node: Any, group: Callable[..., G]) -> G:
    """Declare the fields of one dataclass as parameters and return it filled in."""
    return group(**declare_specs(node, group_specs("", group)))


def declare_specs(node: Any, specs: Sequence[ParameterSpec]) -> dict[str, Any]:
    """Declare parameters and return their values; SettingError explains a user's mistake."""
    _reject_unknown(node, [spec.name for spec in specs])
    values = {}
    for spec in specs:
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        try:
            values[spec.name] = node.declare_parameter(spec.name, default, descriptor(spec)).value
        except (ParameterException, TypeError) as error:
            raise SettingError(f"parameter {spec.name}: {error}{_type_hint(spec)}") from error
    return values


def overrides(given: Mapping[str, str], specs: Sequence[ParameterSpec]) -> list[Parameter]:
    """Parameters from the text of their values, by the types of their defaults.

    Raises SettingError for a name that is unknown or a text that is no such value.
    """
    defaults = {spec.name: spec.default for spec in specs} | {"use_sim_time": False}
    made = []
    for name, text in given.items():
        if name not in defaults:
            raise SettingError(unknown_parameter(name, list(defaults)))
        made.append(Parameter(name, value=typed(name, text, defaults[name])))
    return made


def at_start_only(changes: Sequence[Parameter], live: Collection[str] = ()) -> SetParametersResult:
    """Whether parameters may be set while the node runs: those that are ``live``, and ROS's own."""
    for change in changes:
        if change.name not in live and not ros_own(change.name):
            reason = f"{change.name} is fixed at start-up: restart the node"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def mistaken(node: Any, changes: Sequence[Parameter]) -> str:
    """Why parameters cannot be set whatever their values, a sentence, or "": rclpy's own names
    neither parameter nor value, and takes one without a name."""
    for change in changes:
        if not node.has_parameter(change.name):
            return unknown_parameter(change.name, list(node.get_parameters_by_prefix("")))
        wanted = Parameter.Type(node.describe_parameter(change.name).type)
        if wanted not in (change.type_, Parameter.Type.NOT_SET):  # the latter: of any type
            hint = " with a decimal point, as in 1.0" if wanted == Parameter.Type.DOUBLE else ""
            return (f"{change.name}={shown(change.value)} is of type {change.type_.name}; give a "
                    f"{wanted.name}{hint}")
    return ""


def together(
    node: Any, one_by_one: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """rclpy's callback of ``set_parameters``, except that values which are valid together are set
    together: a box is moved by both of its corners, and either beside the other's old one may be
    none."""

    def answer(request: Any, response: Any) -> Any:
        changes = [Parameter.from_parameter_msg(each) for each in request.parameters]
        if len(changes) < 2 or not node.set_parameters_atomically(changes).successful:
            return one_by_one(request, response)
        response.results = [SetParametersResult(successful=True) for _ in changes]
        return response

    return answer


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Documentation and range in the form that `ros2 param describe` shows."""
    made = ParameterDescriptor(name=spec.name, description=spec.doc)
    if spec.choices is not None:
        made.additional_constraints = f"one of: {spec.allowed}"
    if not spec.live:
        fixed = "given at the start only" if spec.at_start else "fixed while configured"
        made.additional_constraints += f"; {fixed}" if spec.choices else fixed
    if spec.low is not None and spec.high is not None:
        if isinstance(spec.default, float):
            bounds = FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
            made.floating_point_range = [bounds]
        elif isinstance(spec.default, int):
            limits = IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)
            made.integer_range = [limits]
    return made


def _reject_unknown(node: Any, known: Sequence[str]) -> None:
    """A misspelt limit in a YAML file must not silently leave the default in force."""
    for name in getattr(node, "_parameter_overrides", {}):
        if name not in known and not ros_own(name):
            raise SettingError(unknown_parameter(name, known))


def _type_hint(spec: ParameterSpec) -> str:
    if isinstance(spec.default, float):
        return " (a number with a decimal point, as in 1.0)"
    return f" (allowed: {spec.allowed})" if spec.allowed else ""
