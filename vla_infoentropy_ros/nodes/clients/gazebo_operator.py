# SPDX-License-Identifier: Apache-2.0
"""Who lets the policy move Gazebo's hand, and keeps what it tells of its steps."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_srvs.srv import SetBool

from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.messages import fault_text
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST

_ACTIVE = (InferenceStatus.WAITING, InferenceStatus.RUNNING)


class GazeboOperator(Node):
    """steps, latencies_ms: of the actions that were issued since it let the policy move."""

    def __init__(self, namespace: str) -> None:
        super().__init__("operator", namespace=namespace)
        self.status: InferenceStatus | None = None
        self.steps = 0
        self.latencies_ms: list[float] = []
        self._issued = 0
        self._enable = self.create_client(SetBool, "policy_node/enable")
        self.create_subscription(InferenceStatus, "policy_node/status", self._on_status, LATCHED)

    @property
    def active(self) -> bool:
        """A policy is loaded and running, and can be enabled."""
        status = self.status
        return status is not None and status.state in _ACTIVE and self._enable.service_is_ready()

    @property
    def fault(self) -> str:
        """Code and sentence of the fault that is latched, or empty."""
        return fault_text(self.status)

    def enable(self) -> Any:
        """The future of the answer. Steps count from now on."""
        self.steps, self.latencies_ms = 0, []
        return self._enable.call_async(SetBool.Request(data=True))

    def rival(self) -> Any:
        """Another publisher on the topic of the velocities, which says nothing."""
        return self.create_publisher(TwistStamped, "twist_command", NEWEST)

    def _on_status(self, message: InferenceStatus) -> None:
        self.status = message
        if message.enabled and message.actions_issued > self._issued:
            self.steps += 1
            self.latencies_ms.append(message.latency_ms)
        self._issued = message.actions_issued
