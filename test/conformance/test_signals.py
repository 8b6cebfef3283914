# SPDX-License-Identifier: Apache-2.0
"""Initialisation, shutdown and signals, each in a process of its own."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = """
from vla_infoentropy_ros.standalone import ensure_rclpy
ensure_rclpy()
import sys, threading, time
import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
"""
SPIN = """
rclpy.init(args=[])
node = Node("spinner")
node.create_timer(0.01, lambda: None)
node.create_timer(0.2, lambda: print("ready", flush=True))
executor = {executor}
try:
    rclpy.spin(node, executor)
    print("returned")
except KeyboardInterrupt:
    print("KeyboardInterrupt")
except ExternalShutdownException:
    print("ExternalShutdownException")
limit = time.monotonic() + 20
while rclpy.ok() and time.monotonic() < limit:
    time.sleep(0.01)  # rclpy's signal handler is a thread of its own
print("ok", rclpy.ok())
node.destroy_node()
rclpy.try_shutdown()
print("done", flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    """Run code in a new process, in a random domain."""
    import os

    environment = dict(os.environ)
    environment["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 200))
    path = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = f"{path}:{ROOT}" if path else str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def run(code: str, number: int | None = None) -> tuple[int, str, str]:
    """Run code, send a signal once it says that it is ready, and return what came of it."""
    process = start(code)
    try:
        lines = []
        if number is not None:
            assert process.stdout is not None
            while "ready" not in (line := process.stdout.readline()):
                assert line, process.stderr.read() if process.stderr else ""
            process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        lines += [line for line in output.splitlines() if line != "ready"]
        return process.returncode, "\n".join(lines), errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("executor", ["None", "MultiThreadedExecutor(num_threads=2)"])
def test_sigint_ends_spin(executor: str) -> None:
    code, output, errors = run(SPIN.format(executor=executor), signal.SIGINT)
    assert code == 0, errors
    first, *rest = output.splitlines()
    assert first in ("KeyboardInterrupt", "ExternalShutdownException")
    assert rest == ["ok False", "done"]


def test_sigterm_ends_spin() -> None:
    code, output, errors = run(SPIN.format(executor="None"), signal.SIGTERM)
    assert code == 0, errors
    first, *rest = output.splitlines()
    assert first in ("ExternalShutdownException", "returned")
    assert rest == ["ok False", "done"]


def test_sigterm_while_the_main_thread_is_busy() -> None:
    code, output, errors = run(
        """
rclpy.init(args=[])
print("ready", flush=True)
limit = time.monotonic() + 20
while rclpy.ok() and time.monotonic() < limit:
    time.sleep(0.01)
print("ok", rclpy.ok())
""",
        signal.SIGTERM,
    )
    assert (code, output) == (0, "ok False"), errors


def test_without_handlers_python_decides() -> None:
    code, output, errors = run(
        """
rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
node = Node("spinner")
node.create_timer(0.1, lambda: print("ready", flush=True))
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    print("KeyboardInterrupt", rclpy.ok())
    node.get_logger().info("still able to publish")
rclpy.shutdown()
""",
        signal.SIGINT,
    )
    assert (code, output) == (0, "KeyboardInterrupt True"), errors


def test_clean_end_with_spin_thread() -> None:
    code, output, errors = run("""
rclpy.init(args=[])
node = Node("spinner")
executor = MultiThreadedExecutor(num_threads=2)
executor.add_node(node)
calls = []
node.create_timer(0.01, lambda: calls.append(1))
thread = threading.Thread(target=executor.spin)
thread.start()
while len(calls) < 5:
    time.sleep(0.01)
executor.shutdown()
thread.join()
node.destroy_node()
rclpy.shutdown()
print("calls", len(calls) >= 5)
""")
    assert (code, output) == (0, "calls True"), errors


def test_init_and_shutdown_rules() -> None:
    code, output, errors = run("""
def attempt(function):
    try:
        return function() or "fine"
    except Exception as error:
        return type(error).__name__
print(attempt(lambda: Node("early")), rclpy.ok())
rclpy.init(args=[])
print(attempt(lambda: rclpy.init(args=[])), rclpy.ok())
node = Node("in_time")
from std_msgs.msg import String
publisher = node.create_publisher(String, "x", 1)
rclpy.shutdown()
print(attempt(lambda: publisher.publish(String())), rclpy.ok())
print(attempt(rclpy.shutdown), attempt(rclpy.try_shutdown))
node.destroy_node()
rclpy.init(args=[])
print(rclpy.ok())
rclpy.shutdown()
""")
    assert code == 0, errors
    assert output.splitlines() == [
        "NotInitializedException False",
        "RuntimeError True",
        "RCLError False",
        "RuntimeError fine",
        "True",
    ]
