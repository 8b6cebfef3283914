# SPDX-License-Identifier: Apache-2.0
"""The default context and functions on it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from .constants import S_TO_NS
from .context import Context
from .impl.arguments import parse

g_default_context: Context | None = None
g_context_lock = threading.RLock()


def get_default_context(*, shutting_down: bool = False) -> Context:
    """Return the context that is used where none is given."""
    global g_default_context
    with g_context_lock:
        if g_default_context is None:
            g_default_context = Context()
        current = g_default_context
        if shutting_down:
            g_default_context = None
        return current


def remove_ros_args(args: Sequence[str] | None = None) -> list[str]:
    """Return the arguments that are not for ROS."""
    return parse(list(sys.argv if args is None else args)).rest


def ok(*, context: Context | None = None) -> bool:
    """Whether a context is initialised and not shut down."""
    return (get_default_context() if context is None else context).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shut a context down; raises when that was done before."""
    (get_default_context(shutting_down=True) if context is None else context).shutdown()


def try_shutdown(*, context: Context | None = None) -> None:
    """Shut a context down unless that was done before."""
    global g_default_context
    if context is not None:
        context.try_shutdown()
        return
    with g_context_lock:
        current = get_default_context()
        current.try_shutdown()
        if not current.ok():
            g_default_context = None


def get_rmw_implementation_identifier() -> str:
    """Return the name of the middleware."""
    return "standalone_cyclonedds"


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Convert a timeout; -1 means for ever."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(float(timeout_sec) * S_TO_NS)
