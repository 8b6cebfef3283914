# SPDX-License-Identifier: Apache-2.0
"""The part of rclpy that the nodes of this package use, over Cyclone DDS without ROS 2.

Names, signatures and behaviour follow rclpy of ROS 2 Jazzy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import utilities
from .context import Context
from .parameter import Parameter
from .signals import (
    SignalHandlerOptions,
    install_signal_handlers,
    register_context,
    uninstall_signal_handlers,
)
from .task import Future
from .utilities import get_default_context, get_rmw_implementation_identifier, ok, try_shutdown

if TYPE_CHECKING:
    from .executors import Executor
    from .node import Node

__all__ = [
    "Context",
    "Future",
    "Parameter",
    "create_node",
    "get_default_context",
    "get_global_executor",
    "get_rmw_implementation_identifier",
    "init",
    "ok",
    "shutdown",
    "spin",
    "spin_once",
    "spin_until_future_complete",
    "try_shutdown",
]

_global_executor: Executor | None = None


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    """Initialise a context: parse arguments, join the domain, install signal handlers."""
    chosen = get_default_context() if context is None else context
    if signal_handler_options is None:
        is_default = chosen is get_default_context()
        signal_handler_options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    chosen.init(args, domain_id=domain_id)
    register_context(chosen)
    install_signal_handlers(signal_handler_options)


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut a context down; raises when that was done before."""
    utilities.shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and context is None):
        uninstall_signal_handlers()


def get_global_executor() -> Executor:
    """Return the executor that the spin functions use where none is given."""
    global _global_executor
    if _global_executor is None:
        from .executors import SingleThreadedExecutor

        _global_executor = SingleThreadedExecutor()
        get_default_context().on_shutdown(_reset_global_executor)
    return _global_executor


def _reset_global_executor() -> None:
    global _global_executor
    executor, _global_executor = _global_executor, None
    if executor is not None:
        executor.shutdown(timeout_sec=0.0)


def create_node(node_name: str, **kwargs: Any) -> Node:
    """Create a node; arguments as in :class:`rclpy.node.Node`."""
    from .node import Node

    return Node(node_name, **kwargs)


def spin_once(
    node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Run one callback, or return when none is ready in time."""
    chosen = get_global_executor() if executor is None else executor
    try:
        chosen.add_node(node)
        chosen.spin_once(timeout_sec=timeout_sec)
    finally:
        chosen.remove_node(node)


def spin(node: Node, executor: Executor | None = None) -> None:
    """Run callbacks until the context is shut down."""
    chosen = get_global_executor() if executor is None else executor
    try:
        chosen.add_node(node)
        while chosen.context.ok():
            chosen.spin_once()
    finally:
        chosen.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Run callbacks until a future is done."""
    chosen = get_global_executor() if executor is None else executor
    added = False
    try:
        added = chosen.add_node(node)
        chosen.spin_until_future_complete(future, timeout_sec)
    finally:
        if added:
            chosen.remove_node(node)
