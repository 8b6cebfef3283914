# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the public interface."""

from __future__ import annotations

from typing import Any

from ._rclpy_pybind11 import InvalidHandle

__all__ = [
    "InvalidHandle",
    "InvalidNamespaceException",
    "InvalidNodeNameException",
    "InvalidParameterException",
    "InvalidParameterTypeException",
    "InvalidParameterValueException",
    "InvalidServiceNameException",
    "InvalidTopicNameException",
    "NameValidationException",
    "NoTypeSupportImportedException",
    "NotInitializedException",
    "ParameterAlreadyDeclaredException",
    "ParameterException",
    "ParameterImmutableException",
    "ParameterNotDeclaredException",
    "ParameterUninitializedException",
    "ROSInterruptException",
]


class NotInitializedException(Exception):
    """Something was used before ``rclpy.init()`` or after shutdown."""

    def __init__(self, message: str | None = None) -> None:
        """Build the text."""
        detail = f" msg:{message}" if message else ""
        super().__init__(f"rclpy.init() has not been called.{detail}")


class NoTypeSupportImportedException(Exception):
    """A class is not a ROS interface."""

    def __init__(self) -> None:
        """Build the text."""
        super().__init__("no type_support imported")


class NameValidationException(Exception):
    """A topic, service or node name, or a namespace, is not allowed."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int) -> None:
        """Point at the first wrong character."""
        super().__init__(
            f"Invalid {name_type}: {error_msg}:\n  '{name}'\n   {' ' * invalid_index}^"
        )


class InvalidNamespaceException(NameValidationException):
    """A namespace is not allowed."""

    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        """Point at the first wrong character."""
        super().__init__("namespace", name, error_msg, invalid_index)


class InvalidNodeNameException(NameValidationException):
    """A node name is not allowed."""

    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        """Point at the first wrong character."""
        super().__init__("node name", name, error_msg, invalid_index)


class InvalidTopicNameException(NameValidationException):
    """A topic name is not allowed."""

    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        """Point at the first wrong character."""
        super().__init__("topic name", name, error_msg, invalid_index)


class InvalidServiceNameException(NameValidationException):
    """A service name is not allowed."""

    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        """Point at the first wrong character."""
        super().__init__("service name", name, error_msg, invalid_index)


class ParameterException(Exception):
    """Base of the parameter errors."""

    def __init__(self, error_msg: str, parameters: Any) -> None:
        """Name the parameters."""
        super().__init__(f"{error_msg}: {parameters}")


class ParameterNotDeclaredException(ParameterException):
    """A parameter was used before it was declared."""

    def __init__(self, parameters: Any) -> None:
        """Name the parameters."""
        super().__init__("Invalid access to undeclared parameter(s)", parameters)


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared twice."""

    def __init__(self, parameters: Any) -> None:
        """Name the parameters."""
        super().__init__("Parameter(s) already declared", parameters)


class InvalidParameterException(ParameterException):
    """A parameter name is not allowed."""

    def __init__(self, parameter_name: str) -> None:
        """Name the parameter."""
        super().__init__("Invalid parameter name", parameter_name)


class InvalidParameterTypeException(ParameterException):
    """A parameter was given a value of another type than it was declared with."""

    def __init__(self, desired_parameter: Any, expected_type: Any) -> None:
        """Name parameter, value and both types."""
        super().__init__(
            f"Trying to set parameter '{desired_parameter.name}' to "
            f"'{desired_parameter.value}' of type '{desired_parameter.type_.name}', "
            f"expecting type '{expected_type}'",
            desired_parameter.name,
        )


class InvalidParameterValueException(ParameterException):
    """A value was refused by a descriptor or a callback."""

    def __init__(self, parameter: str, value: Any, reason: str) -> None:
        """Name parameter, value and reason."""
        super().__init__(
            f"Invalid parameter value ({value}) for parameter. Reason: {reason}", parameter
        )


class ParameterImmutableException(ParameterException):
    """A read-only parameter was to be changed."""

    def __init__(self, parameter_name: str) -> None:
        """Name the parameter."""
        super().__init__("Attempted to modify read-only parameter", parameter_name)


class ParameterUninitializedException(ParameterException):
    """A parameter was declared with a type only and has no value yet."""

    def __init__(self, parameter_name: str) -> None:
        """Name the parameter."""
        super().__init__(f"The parameter '{parameter_name}' is not initialized", parameter_name)


class ROSInterruptException(Exception):
    """A blocking call was ended by shutdown."""

    def __init__(self) -> None:
        """Build the text."""
        super().__init__("rclpy.shutdown() has been called")
