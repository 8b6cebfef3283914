# SPDX-License-Identifier: Apache-2.0
"""The node's clock as driving takes it."""

from __future__ import annotations

import time
from typing import Any


class RosClock:
    """ROS time of a node (simulated with use_sim_time) and the system's monotonic time."""

    def __init__(self, node: Any) -> None:
        self._clock = node.get_clock()

    def steady_s(self) -> float:
        return time.monotonic()

    def now_ns(self) -> int:
        return int(self._clock.now().nanoseconds)

    def simulated(self) -> bool:
        return bool(self._clock.ros_time_is_active)
