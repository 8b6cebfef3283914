# SPDX-License-Identifier: Apache-2.0
"""Parameters and their values."""

from __future__ import annotations

import array
from enum import Enum
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType, ParameterValue

from .impl.arguments import ArgumentError, load_parameter_file, parse_value

PARAMETER_SEPARATOR_STRING = "."

# Field of ParameterValue that holds a value of each type
_FIELDS = {
    "BOOL": "bool_value",
    "INTEGER": "integer_value",
    "DOUBLE": "double_value",
    "STRING": "string_value",
    "BYTE_ARRAY": "byte_array_value",
    "BOOL_ARRAY": "bool_array_value",
    "INTEGER_ARRAY": "integer_array_value",
    "DOUBLE_ARRAY": "double_array_value",
    "STRING_ARRAY": "string_array_value",
}
# In the order in which an empty or ambiguous list is tried
_ELEMENTS: dict[str, type] = {
    "BYTE_ARRAY": bytes,
    "BOOL_ARRAY": bool,
    "INTEGER_ARRAY": int,
    "DOUBLE_ARRAY": float,
    "STRING_ARRAY": str,
}
_SCALARS: dict[str, type] = {"BOOL": bool, "INTEGER": int, "DOUBLE": float, "STRING": str}


class Parameter:
    """Name, type and value."""

    class Type(Enum):
        """Types of parameters."""

        NOT_SET = ParameterType.PARAMETER_NOT_SET
        BOOL = ParameterType.PARAMETER_BOOL
        INTEGER = ParameterType.PARAMETER_INTEGER
        DOUBLE = ParameterType.PARAMETER_DOUBLE
        STRING = ParameterType.PARAMETER_STRING
        BYTE_ARRAY = ParameterType.PARAMETER_BYTE_ARRAY
        BOOL_ARRAY = ParameterType.PARAMETER_BOOL_ARRAY
        INTEGER_ARRAY = ParameterType.PARAMETER_INTEGER_ARRAY
        DOUBLE_ARRAY = ParameterType.PARAMETER_DOUBLE_ARRAY
        STRING_ARRAY = ParameterType.PARAMETER_STRING_ARRAY

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> Parameter.Type:
            """Return the type of a Python value, or raise TypeError."""
            if parameter_value is None:
                return cls.NOT_SET
            for name, kind in _SCALARS.items():
                if isinstance(parameter_value, kind):
                    return cls[name]
            if isinstance(parameter_value, list | tuple | array.array):
                for name, kind in _ELEMENTS.items():
                    if all(isinstance(item, kind) for item in parameter_value):
                        return cls[name]
                raise TypeError(
                    f"The given value is not a list of one of the allowed types "
                    f"'{parameter_value}'."
                )
            raise TypeError(f"The given value is not one of the allowed types '{parameter_value}'.")

        def check(self, parameter_value: Any) -> bool:
            """Whether a Python value is of this type."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            if self.name in _SCALARS:
                return isinstance(parameter_value, _SCALARS[self.name])
            kind = _ELEMENTS[self.name]
            numeric = kind in (int, float)
            containers = (list, tuple, array.array) if numeric else (list, tuple)
            return isinstance(parameter_value, containers) and all(
                isinstance(item, kind) for item in parameter_value
            )

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        """Keep the value; its type is found out when not given."""
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of '{Parameter.Type!r}'")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_ = type_
        self._name = name
        self._value = value

    @property
    def name(self) -> str:
        """Full name."""
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        """Type of the value."""
        return self._type_

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"Parameter(name={self._name!r}, type_={self._type_.name}, value={self._value!r})"

    def get_parameter_value(self) -> Any:
        """Return a rcl_interfaces/ParameterValue."""
        message = ParameterValue(type=self._type_.value)
        if self._type_ is not Parameter.Type.NOT_SET:
            setattr(message, _FIELDS[self._type_.name], self._value)
        return message

    def to_parameter_msg(self) -> Any:
        """Return a rcl_interfaces/Parameter."""
        return ParameterMsg(name=self._name, value=self.get_parameter_value())

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> Parameter:
        """Return the parameter of a rcl_interfaces/Parameter."""
        kind = Parameter.Type(param_msg.value.type)
        value = None if kind is cls.Type.NOT_SET else getattr(param_msg.value, _FIELDS[kind.name])
        return cls(param_msg.name, kind, value)


def parameter_value_to_python(parameter_value: Any) -> Any:
    """Return the Python value of a rcl_interfaces/ParameterValue."""
    try:
        kind = Parameter.Type(parameter_value.type)
    except ValueError as error:
        raise RuntimeError(f"unexpected parameter type {parameter_value.type}") from error
    if kind is Parameter.Type.NOT_SET:
        return None
    value = getattr(parameter_value, _FIELDS[kind.name])
    return list(value) if kind.name.endswith("_ARRAY") else value


def get_parameter_value(string_value: str) -> Any:
    """Return a rcl_interfaces/ParameterValue for text, with the type that YAML gives it."""
    try:
        value = parse_value(string_value, "")
        if value is None or (isinstance(value, list) and not value):
            value = string_value
    except ArgumentError:
        value = string_value
    return Parameter("", value=value).get_parameter_value()


def parameter_dict_from_yaml_file(
    parameter_file: str,
    use_wildcard: bool = False,
    target_nodes: list[str] | None = None,
    namespace: str = "",
) -> dict[str, Any]:
    """Read a parameter file as messages by parameter name."""
    wanted = set(target_nodes or ()) | ({"/**"} if use_wildcard else set())
    return {
        namespace + name: Parameter(namespace + name, value=value).to_parameter_msg()
        for pattern, name, value in load_parameter_file(parameter_file)
        if not target_nodes or pattern in wanted or pattern.lstrip("/") in wanted
    }
