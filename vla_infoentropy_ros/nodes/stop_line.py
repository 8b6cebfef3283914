# SPDX-License-Identifier: Apache-2.0
"""What stops the robot has a thread of its own, which takes no message that could be large.

The node's executor takes images, joint states and parameters, and each of them may keep it busy.
So the command timer, with watchdog and expiry, and the operator's services are served here.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_infoentropy_ros.foreign.text import quoted_lines

_SLICE_S = 0.05
_PATIENCE_S = 5.0


class StopLine:
    """A second node ``<name>_stop`` with its executor, beside the node that it serves.

    services: type and callback by name, as the served node would create them. on_error: told after
    a callback raised; serving goes on.
    """

    def __init__(
        self,
        node: Any,
        services: dict[str, tuple[Any, Callable[..., Any]]],
        on_error: Callable[[], None],
    ) -> None:
        self._logger, self._on_error = node.get_logger(), on_error
        self._node = Node(
            f"{node.get_name()}_stop",
            namespace=node.get_namespace(),
            context=node.context,
            use_global_arguments=False,  # a remapped __node would give both the same name
            start_parameter_services=False,
            enable_rosout=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        for name, (kind, callback) in services.items():
            self._node.create_service(kind, node.resolve_service_name(name), callback)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer: Any = None
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="stop line", daemon=True)
        self._thread.start()

    def every(self, period_s: float, tick: Callable[[], None]) -> None:
        """Call ``tick`` so often from now on, instead of what was called before."""
        self.rest()
        self._timer = self._node.create_timer(period_s, tick, clock=self._steady)

    def rest(self) -> None:
        """Call nothing any more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._node.destroy_timer(timer)

    def close(self) -> None:
        """End the thread."""
        self.rest()
        self._ending.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)
        self._executor.shutdown()
        self._node.destroy_node()

    def _spin(self) -> None:
        while not self._ending.is_set():
            try:
                self._executor.spin_once(timeout_sec=_SLICE_S)
            except ExternalShutdownException:
                return
            except Exception:  # whatever a callback raises, stopping must go on
                told = quoted_lines(traceback.format_exc())
                self._logger.error(f"an error in the stop line:\n{told}")
                with contextlib.suppress(Exception):  # to stop may fail by what has just failed
                    self._on_error()
