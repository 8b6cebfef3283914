# SPDX-License-Identifier: Apache-2.0
"""Drives the clocks of a node from /clock when ``use_sim_time`` is set."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rosgraph_msgs.msg import Clock as ClockMsg

from .clock import ROSClock
from .clock_type import ClockType
from .parameter import Parameter
from .qos import QoSProfile, ReliabilityPolicy
from .time import Time

CLOCK_TOPIC = "/clock"
USE_SIM_TIME_NAME = "use_sim_time"


class TimeSource:
    """Connects the parameter ``use_sim_time``, the topic /clock and clocks."""

    def __init__(self, *, node: Any = None) -> None:
        """Start with system time."""
        self._node_reference: Any = None
        self._clock_sub: Any = None
        self._clocks: list[ROSClock] = []
        self._last_time = Time(clock_type=ClockType.ROS_TIME)
        self._active = False
        if node is not None:
            self.attach_node(node)

    @property
    def ros_time_is_active(self) -> bool:
        """Whether simulated time is in use."""
        return self._active

    @ros_time_is_active.setter
    def ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        self._active = enabled
        for clock in self._clocks:
            clock._set_ros_time_is_active(enabled)
        node = self._node()
        if node is None:
            return
        if enabled:
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._clock_sub = node.create_subscription(
                ClockMsg, CLOCK_TOPIC, self.clock_callback, qos
            )
        elif self._clock_sub is not None:
            node.destroy_subscription(self._clock_sub)
            self._clock_sub = None

    def attach_node(self, node: Any) -> None:
        """Declare and follow ``use_sim_time``."""
        self._node_reference = weakref.ref(node)
        if not node.has_parameter(USE_SIM_TIME_NAME):
            node.declare_parameter(USE_SIM_TIME_NAME, False)
        self.ros_time_is_active = bool(node.get_parameter(USE_SIM_TIME_NAME).value)
        node.add_on_set_parameters_callback(self._on_set)

    def detach_node(self) -> None:
        """Stop following."""
        node = self._node()
        if node is not None and self._clock_sub is not None:
            node.destroy_subscription(self._clock_sub)
        self._clock_sub = None
        self._node_reference = None

    def attach_clock(self, clock: ROSClock) -> None:
        """Drive a clock."""
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(self._last_time)
        clock._set_ros_time_is_active(self._active)
        self._clocks.append(clock)

    def clock_callback(self, msg: Any) -> None:
        """Set all clocks to a time received."""
        self._last_time = Time.from_msg(msg.clock)
        for clock in self._clocks:
            clock.set_ros_time_override(self._last_time)

    def _on_set(self, parameters: list[Parameter]) -> Any:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME_NAME:
                if parameter.type_ is not Parameter.Type.BOOL:
                    return SetParametersResult(
                        successful=False,
                        reason=f"{USE_SIM_TIME_NAME} parameter set to something besides a bool",
                    )
                self.ros_time_is_active = parameter.value
        return SetParametersResult(successful=True)

    def _node(self) -> Any:
        return None if self._node_reference is None else self._node_reference()
