# SPDX-License-Identifier: Apache-2.0
"""Start, spin and stop a node so that it can still speak when it is told to stop."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from vla_infoentropy_ros.driving.parameter_files import StartupError
from vla_infoentropy_ros.driving.parameter_specs import ParameterSpec
from vla_infoentropy_ros.foreign.text import MESSAGE, one_line, printable, quoted_lines
from vla_infoentropy_ros.interrupting import heeded
from vla_infoentropy_ros.nodes.discovery import RANGE, stay_local
from vla_infoentropy_ros.nodes.heap import keep_freed
from vla_infoentropy_ros.nodes.parameters import overrides
from vla_infoentropy_ros.nodes.start_arguments import StartArguments

_SWITCH_S = 0.0005
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LAST_TURNS = 10  # of an executor, by which goals that the end of a node ends are told so
_SLICE_S = 1.0  # the longest time before a context that was shut down is noticed


class _Interrupted(BaseException):
    """A signal came while the node was busy; no transition may take it for its own error."""


class RunnableNode(Protocol):
    """A node with a beginning and an end."""

    @property
    def busy(self) -> bool:
        """In what may take minutes and does not look at ``stopping``: a signal ends it at once."""

    def start(self) -> None:
        """After construction, with the executor not spinning yet; may raise StartupError."""

    def loop(self, executor: Executor, stopping: threading.Event) -> None:
        """Serve callbacks until ``stopping`` is set."""

    def stop(self) -> None:
        """Make the robot safe and free everything; publishers still work."""


@contextlib.contextmanager
def _woken_by_signals(executor: Executor) -> Iterator[None]:
    """A signal ends the wait of the executor that the main thread spins.

    Python runs handlers between two instructions of the main thread, which waits in C for messages
    and may do so for many command periods; the interpreter's wakeup descriptor is told at once.
    """
    told, telling = os.pipe()
    os.set_blocking(telling, False)
    before = signal.set_wakeup_fd(telling)

    def wake() -> None:
        while os.read(told, 1):
            executor.create_task(lambda: None)

    thread = threading.Thread(target=wake, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(telling)  # ends the thread
        thread.join()
        os.close(told)


def spin(executor: Executor, stopping: threading.Event) -> None:
    """The loop of a node that only has callbacks."""
    while not stopping.is_set() and rclpy.ok():
        executor.spin_once(timeout_sec=_SLICE_S)


def run(
    name: str,
    make: Callable[..., Any],
    args: Sequence[str] | None = None,
    specs: Sequence[ParameterSpec] = (),
) -> int:
    """Run a node until SIGINT, SIGTERM or SIGHUP (its terminal is gone; not under nohup); returns
    the exit code.

    specs: of the parameters that launch arguments may set; ``make`` then takes them as
    ``parameter_overrides``, and as ``start`` what the node was started with.

    rclpy's own signal handlers shut the context down first, after which no zero command could be
    published any more; so the signals are taken here and the node is stopped before the context.
    """
    stopping = threading.Event()

    running: list[RunnableNode] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if any(node.busy for node in running):
            raise _Interrupted

    # Commands are timed by one thread while another runs the policy: the default of 5 ms per turn
    # of the interpreter lock would delay them by a multiple of that.
    sys.setswitchinterval(_SWITCH_S)
    keep_freed()
    local = stay_local()
    try:
        start = StartArguments.parse(sys.argv if args is None else args)
        given = overrides(start.given, specs)
        rclpy.init(args=list(start.rest), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # the library's own, for arguments, files, keys
        get_logger(name).fatal(f"cannot start: {one_line(error, MESSAGE)}")
        return 1
    before = {number: signal.signal(number, on_signal) for number in heeded(_SIGNALS)}
    try:
        if local:
            get_logger(name).info(f"on this host only; {RANGE}=SUBNET opens the node to others")
        if specs:
            make = functools.partial(make, start=start, parameter_overrides=given)
        return _spin(name, make, start, stopping, running)
    finally:
        rclpy.try_shutdown()
        gc.freeze()  # else the interpreter's last collection walks all of torch, for seconds
        for number, handler in before.items():
            signal.signal(number, handler)


def _spin(
    name: str,
    make: Callable[[], Any],
    start: StartArguments,
    stopping: threading.Event,
    running: list[RunnableNode],
) -> int:
    """running: takes the node."""
    try:
        node = make()
    except (StartupError, ValueError, RuntimeError) as error:  # the last are the library's own
        get_logger(name).fatal(one_line(error, MESSAGE))
        return 1
    running.append(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        for warning in start.check(node.get_fully_qualified_name()):
            node.get_logger().warning(warning)
        node.start()
        with _woken_by_signals(executor):
            node.loop(executor, stopping)
        return 0
    except _Interrupted:
        node.get_logger().info("interrupted while a policy was being loaded")
        return 0
    except StartupError as error:
        node.get_logger().fatal(printable(error, MESSAGE))
        return 1
    except Exception:  # what a callback raises, or the library within one
        told = quoted_lines(traceback.format_exc())
        node.get_logger().fatal(f"ends by an error, and stops what it was doing:\n{told}")
        return 1
    finally:
        node.stop()
        with contextlib.suppress(Exception):  # of a callback: the node has stopped
            for _ in range(_LAST_TURNS):
                executor.spin_once(timeout_sec=0.01)
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
