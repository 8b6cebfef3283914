# SPDX-License-Identifier: Apache-2.0
"""The parameters of a node: declaration, checks, callbacks and events."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import (
    ListParametersResult,
    ParameterDescriptor,
    ParameterEvent,
    ParameterValue,
    SetParametersResult,
)

from ..exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from ..parameter import PARAMETER_SEPARATOR_STRING, Parameter, parameter_value_to_python

_WRONG_TYPE = "Wrong parameter type"
_NAME = re.compile(r"[^\s.](?:[^\s]*[^\s.])?")
_REL_TOL = 1e-6


class NodeParameters:
    """Mixin with everything that :class:`Node` offers about parameters."""

    _parameter_overrides: dict[str, Parameter]
    _allow_undeclared_parameters: bool
    _parameter_event_publisher: Any

    def _init_parameters(self, allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._parameter_overrides = {}
        self._allow_undeclared_parameters = allow_undeclared
        self._pre_set_callbacks: list[Callable[[list[Parameter]], list[Parameter]]] = []
        self._on_set_callbacks: list[Callable[[list[Parameter]], Any]] = []
        self._post_set_callbacks: list[Callable[[list[Parameter]], None]] = []

    # Declaration

    def declare_parameter(
        self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False
    ) -> Parameter:
        """Declare a parameter; command line and files override ``value``."""
        if value is None and descriptor is None:
            return self.declare_parameters("", [(name,)], ignore_override)[0]
        return self.declare_parameters(
            "", [(name, value, descriptor or ParameterDescriptor())], ignore_override
        )[0]

    def declare_parameters(
        self, namespace: str, parameters: list[Any], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare several parameters given as (name, value or type, descriptor)."""
        declared: list[Parameter] = []
        descriptors: dict[str, Any] = {}
        for index, entry in enumerate(parameters):
            name, value, descriptor = _unpack_declaration(index, entry)
            if namespace:
                name = f"{namespace}.{name}"
            if not name or not _NAME.fullmatch(name):
                raise InvalidParameterException(name)
            if isinstance(value, Parameter.Type):
                if descriptor.dynamic_typing:
                    raise ValueError(
                        f"When declaring parameter {name} with dynamic_typing=True, "
                        "give a value instead of a type."
                    )
                if value is Parameter.Type.NOT_SET:
                    raise ValueError(
                        f"Cannot declare parameter {name} as statically typed of type NOT_SET"
                    )
                descriptor.type = value.value
                value = None
            elif not descriptor.dynamic_typing:
                if isinstance(value, ParameterValue):
                    value = parameter_value_to_python(value)
                descriptor.type = Parameter.Type.from_parameter_value(value).value
                if value is None:
                    raise ValueError(
                        f"Cannot declare a statically typed parameter ({name}) with default value "
                        "of type PARAMETER_NOT_SET. Give a value, a Parameter.Type, or a "
                        "descriptor with dynamic_typing=True."
                    )
            if not ignore_override and name in self._parameter_overrides:
                value = self._parameter_overrides[name].value
            declared.append(Parameter(name, value=value))
            descriptors[name] = descriptor
        twice = [item.name for item in declared if item.name in self._parameters]
        if twice:
            raise ParameterAlreadyDeclaredException(twice)
        for item in declared:
            result = self._apply([item], descriptors, allow_not_set=True)
            if not result.successful:
                if result.reason.startswith(_WRONG_TYPE):
                    expected = Parameter.Type(descriptors[item.name].type).name
                    raise InvalidParameterTypeException(item, expected)
                raise InvalidParameterValueException(item.name, item.value, result.reason)
        return [self._parameters[item.name] for item in declared]

    def undeclare_parameter(self, name: str) -> None:
        """Forget a parameter."""
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        del self._parameters[name], self._descriptors[name]

    # Reading

    def has_parameter(self, name: str) -> bool:
        """Whether a parameter is declared."""
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """Return a parameter."""
        if name not in self._parameters:
            if self._allow_undeclared_parameters:
                return Parameter(name, Parameter.Type.NOT_SET, None)
            raise ParameterNotDeclaredException(name)
        parameter = self._parameters[name]
        if parameter.type_ is Parameter.Type.NOT_SET and not self._descriptors[name].dynamic_typing:
            raise ParameterUninitializedException(name)
        return parameter

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        """Return several parameters."""
        if not all(isinstance(name, str) for name in names):
            raise TypeError("All names must be instances of type str")
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """Return a parameter, or the alternative when it has no value."""
        if alternative_value is None:
            alternative_value = Parameter(name, Parameter.Type.NOT_SET)
        parameter = self._parameters.get(name)
        if parameter is None or parameter.type_ is Parameter.Type.NOT_SET:
            return alternative_value
        return parameter

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Parameters below a prefix, by the rest of their names."""
        start = f"{prefix}{PARAMETER_SEPARATOR_STRING}" if prefix else ""
        return {
            name.removeprefix(start): parameter
            for name, parameter in self._parameters.items()
            if name.startswith(start)
        }

    def get_parameter_type(self, name: str) -> Parameter.Type:
        """Type of a parameter."""
        if name in self._parameters:
            return self._parameters[name].type_
        if self._allow_undeclared_parameters:
            return Parameter.Type.NOT_SET
        raise ParameterNotDeclaredException(name)

    def get_parameter_types(self, names: list[str]) -> list[Parameter.Type]:
        """Types of several parameters."""
        return [self.get_parameter_type(name) for name in names]

    def describe_parameter(self, name: str) -> Any:
        """Descriptor of a parameter."""
        if name in self._descriptors:
            return self._descriptors[name]
        if self._allow_undeclared_parameters:
            return ParameterDescriptor()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: list[str]) -> list[Any]:
        """Descriptors of several parameters."""
        return [self.describe_parameter(name) for name in names]

    def list_parameters(self, prefixes: list[str], depth: int) -> Any:
        """Names below the prefixes, down to ``depth`` levels (0: all)."""
        if depth < 0:
            raise ValueError(f"depth is {depth}; it must not be negative.")
        result = ListParametersResult()

        def shallow(rest: str) -> bool:
            return depth == 0 or rest.count(PARAMETER_SEPARATOR_STRING) < depth

        def wanted(name: str) -> bool:
            if not prefixes:
                return shallow(name)
            return any(
                name == prefix
                or (name.startswith(prefix + ".") and shallow(name[len(prefix) + 1 :]))
                for prefix in prefixes
            )

        for name in filter(wanted, self._parameters):
            result.names.append(name)
            prefix, separator, _ = name.rpartition(PARAMETER_SEPARATOR_STRING)
            if separator and prefix not in result.prefixes:
                result.prefixes.append(prefix)
        return result

    # Setting

    def set_parameters(self, parameter_list: list[Parameter]) -> list[Any]:
        """Set parameters one by one; one result each."""
        return [self.set_parameters_atomically([item]) for item in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> Any:
        """Set all parameters or none."""
        if self._pre_set_callbacks:
            parameter_list = [
                item for callback in self._pre_set_callbacks for item in callback(parameter_list)
            ]
            if not parameter_list:
                return SetParametersResult(
                    successful=False,
                    reason="parameter list cannot be empty, this might be due to "
                    "pre_set_parameters_callback modifying the original parameters list.",
                )
        if not all(isinstance(item, Parameter) for item in parameter_list):
            raise TypeError(f"parameter must be instance of type '{Parameter!r}'")
        unknown = [item.name for item in parameter_list if item.name not in self._parameters]
        if unknown and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(unknown)
        return self._apply(parameter_list, None, allow_not_set=False)

    def _apply(
        self, parameters: list[Parameter], descriptors: dict[str, Any] | None, allow_not_set: bool
    ) -> Any:
        """Check, ask the callbacks, store and publish."""
        for item in parameters:
            descriptor = (descriptors or self._descriptors).get(item.name)
            if descriptor is None:
                continue
            reason = self._refusal(item, descriptor, check_read_only=descriptors is None)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        for callback in self._on_set_callbacks:
            result = callback(parameters)
            if not result.successful:
                return result
        event = ParameterEvent(node=self.get_fully_qualified_name())  # type: ignore[attr-defined]
        for item in parameters:
            message = item.to_parameter_msg()
            if not allow_not_set and item.type_ is Parameter.Type.NOT_SET:
                if item.name in self._parameters:
                    event.deleted_parameters.append(message)
                self._parameters.pop(item.name, None)
                self._descriptors.pop(item.name, None)
                continue
            known = item.name in self._parameters
            (event.changed_parameters if known else event.new_parameters).append(message)
            if descriptors is not None:
                self._descriptors[item.name] = descriptors[item.name]
            elif item.name not in self._descriptors:
                self._descriptors[item.name] = ParameterDescriptor(
                    name=item.name, type=item.type_.value, dynamic_typing=True
                )
            self._parameters[item.name] = item
        event.stamp = self.get_clock().now().to_msg()  # type: ignore[attr-defined]
        self._parameter_event_publisher.publish(event)
        for after in self._post_set_callbacks:
            after(parameters)
        return SetParametersResult(successful=True)

    def _refusal(self, parameter: Parameter, descriptor: Any, check_read_only: bool) -> str:
        """Return why a descriptor refuses a value, or an empty text."""
        descriptor.name = parameter.name
        if check_read_only and descriptor.read_only:
            return f"Trying to set a read-only parameter: {parameter.name}."
        not_set = parameter.type_ is Parameter.Type.NOT_SET
        if descriptor.dynamic_typing:
            descriptor.type = parameter.type_.value
        elif parameter.name in self._parameters and not_set:
            return "Static parameter cannot be undeclared"
        elif not not_set and parameter.type_.value != descriptor.type:
            return (
                f"{_WRONG_TYPE}, expected '{Parameter.Type(descriptor.type)}' "
                f"got '{parameter.type_}'"
            )
        if parameter.type_ is Parameter.Type.INTEGER and descriptor.integer_range:
            return _outside(parameter, descriptor.integer_range[0])
        if parameter.type_ is Parameter.Type.DOUBLE and descriptor.floating_point_range:
            return _outside(parameter, descriptor.floating_point_range[0])
        return ""

    def set_descriptor(self, name: str, descriptor: Any, alternative_value: Any = None) -> Any:
        """Replace the descriptor of a parameter; return its value afterwards."""
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        current = self.get_parameter(name)
        if alternative_value is not None:
            current = Parameter(name, value=parameter_value_to_python(alternative_value))
        if not descriptor.dynamic_typing and not descriptor.type:
            descriptor.type = current.type_.value
        reason = self._refusal(current, descriptor, check_read_only=False)
        if reason:
            raise InvalidParameterValueException(name, current.value, reason)
        self._descriptors[name] = descriptor
        self._parameters[name] = current
        return current.get_parameter_value()

    # Callbacks; the newest is called first

    def add_pre_set_parameters_callback(
        self, callback: Callable[[list[Parameter]], list[Parameter]]
    ) -> None:
        """Call ``callback`` first; it may change the list."""
        self._pre_set_callbacks.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        """Call ``callback`` before values change; it may refuse them."""
        self._on_set_callbacks.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], None]) -> None:
        """Call ``callback`` after values changed."""
        self._post_set_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: Any) -> None:
        """Take a callback back."""
        self._pre_set_callbacks.remove(callback)

    def remove_on_set_parameters_callback(self, callback: Any) -> None:
        """Take a callback back."""
        self._on_set_callbacks.remove(callback)

    def remove_post_set_parameters_callback(self, callback: Any) -> None:
        """Take a callback back."""
        self._post_set_callbacks.remove(callback)


def _unpack_declaration(index: int, entry: Any) -> tuple[str, Any, Any]:
    if not isinstance(entry, tuple | list) or not 1 <= len(entry) <= 3:
        raise TypeError(
            f"Invalid parameter tuple at index {index}: expected (name, value, descriptor), "
            f"got {entry!r}"
        )
    name = entry[0]
    if not isinstance(name, str):
        raise TypeError(f"First element {name!r} at index {index} in parameters list is not a str.")
    value = entry[1] if len(entry) > 1 else None
    descriptor = entry[2] if len(entry) > 2 else ParameterDescriptor()
    if not isinstance(descriptor, ParameterDescriptor):
        raise TypeError(
            f"Third element {descriptor!r} at index {index} in parameters list is not a "
            "ParameterDescriptor."
        )
    if len(entry) == 1:
        warnings.warn(
            f"when declaring parameter named '{name}', declaring a parameter only providing its "
            "name is deprecated. Pass a default value, a type, or a descriptor with "
            "dynamic_typing=True",
            stacklevel=4,
        )
        descriptor.dynamic_typing = True
    return name, value, descriptor


def _outside(parameter: Parameter, limits: Any) -> str:
    """Return why a value is not in a range or not on its steps, or an empty text."""
    value = parameter.value
    low, high = sorted((limits.from_value, limits.to_value))
    exact = isinstance(value, int)

    def same(a: float, b: float) -> bool:
        return a == b if exact else math.isclose(a, b, rel_tol=_REL_TOL)

    text = f"Min: {low}, Max: {high}, value: {value}"
    if same(value, low) or same(value, high):
        return ""
    if not low < value < high:
        return f"Parameter {parameter.name} out of range. {text}"
    if limits.step:
        nearest = low + round((value - low) / limits.step) * limits.step
        if not same(nearest, value):
            return (
                f"The parameter value for {parameter.name} is not a valid step. {text}, "
                f"step: {limits.step}"
            )
    return ""
