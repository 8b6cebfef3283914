# SPDX-License-Identifier: Apache-2.0
"""Services through which ``ros2 param`` reaches the parameters of a node."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import ListParametersResult, SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from .exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from .parameter import Parameter
from .qos import qos_profile_parameters


class ParameterService:
    """The six parameter services of one node."""

    def __init__(self, node: Any) -> None:
        """Create the services."""
        self._node_reference = weakref.ref(node)
        for srv_type, name, callback in (
            (DescribeParameters, "describe_parameters", self._describe),
            (GetParameters, "get_parameters", self._get),
            (GetParameterTypes, "get_parameter_types", self._get_types),
            (ListParameters, "list_parameters", self._list),
            (SetParameters, "set_parameters", self._set),
            (SetParametersAtomically, "set_parameters_atomically", self._set_atomically),
        ):
            node.create_service(
                srv_type, f"{node.get_name()}/{name}", callback, qos_profile=qos_profile_parameters
            )

    def _node(self) -> Any:
        node = self._node_reference()
        if node is None:
            raise ReferenceError("The node of this parameter service is gone.")
        return node

    # One unknown name makes these answers empty, as in ROS.

    def _describe(self, request: Any, response: Any) -> Any:
        try:
            response.descriptors = self._node().describe_parameters(request.names)
        except ParameterNotDeclaredException:
            response.descriptors = []
        return response

    def _get(self, request: Any, response: Any) -> Any:
        try:
            found = self._node().get_parameters(request.names)
            response.values = [parameter.get_parameter_value() for parameter in found]
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            response.values = []
        return response

    def _get_types(self, request: Any, response: Any) -> Any:
        try:
            kinds = self._node().get_parameter_types(request.names)
            response.types = [kind.value for kind in kinds]
        except ParameterNotDeclaredException:
            response.types = []
        return response

    def _list(self, request: Any, response: Any) -> Any:
        try:
            response.result = self._node().list_parameters(request.prefixes, request.depth)
        except (TypeError, ValueError):
            response.result = ListParametersResult()
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._set_checked([message]) for message in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._set_checked(request.parameters)
        return response

    def _set_checked(self, messages: list[Any]) -> Any:
        try:
            parameters = [Parameter.from_parameter_msg(message) for message in messages]
            return self._node().set_parameters_atomically(parameters)
        except (ParameterNotDeclaredException, ValueError) as error:
            return SetParametersResult(successful=False, reason=str(error))
