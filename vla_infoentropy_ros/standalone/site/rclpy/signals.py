# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM shut down all contexts, then run the handler that was there before."""

from __future__ import annotations

import signal
import threading
import weakref
from enum import IntFlag
from types import FrameType
from typing import Any

from .context import Context

_contexts: weakref.WeakSet[Context] = weakref.WeakSet()
_previous: dict[int, Any] = {}


class SignalHandlerOptions(IntFlag):
    """Which handlers ``rclpy.init`` installs."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_NUMBERS = {
    SignalHandlerOptions.SIGINT: signal.SIGINT,
    SignalHandlerOptions.SIGTERM: signal.SIGTERM,
}


def register_context(context: Context) -> None:
    """Let the handlers shut this context down."""
    _contexts.add(context)


def _handle(number: int, frame: FrameType | None) -> None:
    for context in list(_contexts):
        if context.ok():
            context.interrupt()
    before = _previous.get(number)
    # Python's own SIGINT handler raises KeyboardInterrupt; the default action of SIGTERM would
    # end the process at once and is left out, so that spin() can return and nodes can clean up.
    if callable(before):
        before(number, frame)


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Install handlers; outside of the main thread Python does not allow it and none are set."""
    if threading.current_thread() is not threading.main_thread():
        return
    for option, number in _NUMBERS.items():
        if option & options and signal.getsignal(number) is not _handle:
            _previous[number] = signal.signal(number, _handle)


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    """Return which handlers are installed."""
    current = SignalHandlerOptions.NO
    for option, number in _NUMBERS.items():
        if signal.getsignal(number) is _handle:
            current |= option
    return current


def uninstall_signal_handlers() -> None:
    """Put the earlier handlers back."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _NUMBERS.values():
        if signal.getsignal(number) is _handle:
            before = _previous.pop(number, None)
            signal.signal(number, signal.SIG_DFL if before is None else before)
