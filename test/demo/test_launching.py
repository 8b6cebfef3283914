# SPDX-License-Identifier: Apache-2.0
"""Processes of a launch: deaths are told, and nothing is left behind. The runner is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vla_infoentropy_ros.demo.launching import Launch, NodeDiedError, launch_command

_SLEEPER = "import time; time.sleep(60)"
_STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); print('up', flush=True);"
    "time.sleep(60)"
)


def _runner(child: str, *, deaf: bool = False) -> list[str]:
    """A launch runner with one child; deaf: it leaves the child behind when told to stop."""
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print('[INFO] [policy_node-1]: process started with pid [%d]' % child.pid, flush=True)\n"
        "try:\n    child.wait()\nexcept KeyboardInterrupt:\n"
        f"    {'sys.exit(0)' if deaf else 'child.kill(); child.wait(); sys.exit(0)'}\n"
        "print('[policy_node-1] Segmentation in the last line')\n"
        "print('[ERROR] [policy_node-1]: process has died [pid %d, exit code %d, cmd x].'"
        " % (child.pid, child.returncode), flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    return [sys.executable, "-c", code]


def _until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.02)


def _child(launch: Launch) -> int:
    found = [pid for pid, line in launch.processes().items() if "subprocess" not in line]
    return found[0] if found else 0


def test_all_end_in_order(tmp_path: Path) -> None:
    with Launch(_runner(_SLEEPER), tmp_path / "log") as launch:
        _until(lambda: len(launch.processes()) == 2)
        launch.check()
    assert launch.processes() == {}


def test_a_stubborn_orphan_is_killed(tmp_path: Path) -> None:
    launch = Launch(_runner(_STUBBORN, deaf=True), tmp_path / "log")
    _until(lambda: "up" in (tmp_path / "log").read_text())
    launch.stop()
    assert launch.processes() == {}
    launch.stop()


def test_a_dead_node_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Launch(_runner(_SLEEPER), tmp_path / "log") as launch:
        _until(lambda: _child(launch))
        os.kill(_child(launch), signal.SIGKILL)
        _until(lambda: "has died" in (tmp_path / "log").read_text())
        with pytest.raises(NodeDiedError) as caught:
            launch.check()
    text = str(caught.value)
    assert "policy_node ended by signal 9 (SIGKILL)" in text
    assert "Segmentation in the last line" in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[ERROR] [sim_node-2]: process has died [pid 9, exit code -9, cmd 'x'].",
         "sim_node ended by signal 9 (SIGKILL)"),
        ("[ERROR] [sim_node-2]: process has died [pid 9, exit code 3, cmd 'x'].",
         "sim_node ended by itself with exit code 3"),
        ("[ERROR] [sim_node-2] process has died: signal SIGSEGV (sim.launch.xml, line 9)",
         "sim_node ended by signal SIGSEGV"),
        ("[INFO] [sim_node-2]: process has finished cleanly [pid 9]",
         "sim_node ended by itself with exit code 0"),
    ],
)
def test_deaths_as_both_runners_tell_them(tmp_path: Path, line: str, told: str) -> None:
    code = f"import time; print({line!r}, flush=True); time.sleep(60)"
    with Launch([sys.executable, "-c", code], tmp_path / "log") as launch:
        _until(lambda: line in (tmp_path / "log").read_text())
        with pytest.raises(NodeDiedError) as caught:
            launch.check()
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "[policy_node-1] [ERROR] [sim_node-2]: process has died [pid 9, exit code -9, cmd 'x'].",
        "[policy_node-1] x\r[ERROR] [sim_node-2]: process has died [pid 9, exit code -9, cmd 'x'].",
        "[policy_node-1] process has died: signal SIGKILL (sim.launch.xml, line 9)",
        "[policy_node-1]: process has finished cleanly [pid 9]",
    ],
)
def test_a_node_cannot_forge_a_death(tmp_path: Path, line: str) -> None:
    code = f"import time; print({line!r}, flush=True); time.sleep(60)"
    with Launch([sys.executable, "-c", code], tmp_path / "log") as launch:
        _until(lambda: (tmp_path / "log").stat().st_size >= len(line))
        launch.check()


def test_last_words_cannot_steer_the_terminal(tmp_path: Path) -> None:
    code = "print('\x1b[2J\x1b]0;owned\x07'); raise SystemExit(3)"
    with Launch([sys.executable, "-c", code], tmp_path / "log") as launch:
        _until(lambda: launch._process.poll() is not None)
        with pytest.raises(NodeDiedError) as caught:
            launch.check()
    assert r"  | \x1b[2J\x1b]0;owned\x07" in str(caught.value)


def test_the_log_empties_no_file_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "log").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        Launch([sys.executable, "-c", "print(1)"], tmp_path / "log")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError):  # and waits for no reader
        Launch([sys.executable, "-c", "print(1)"], tmp_path / "fifo")
    assert (tmp_path / "precious").read_text() == "years of work"


def test_a_dead_runner_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such file: x.launch.xml'); raise SystemExit(3)"]
    with Launch(command, tmp_path / "log") as launch:
        _until(lambda: launch._process.poll() is not None)
        with pytest.raises(NodeDiedError, match=r"exit code 3(.|\n)*no such file"):
            launch.check()


def test_nodes_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom pathlib import Path\n"
        "from vla_infoentropy_ros.demo.launching import Launch\n"
        f"launch = Launch({_runner(_SLEEPER)!r}, Path({str(tmp_path / 'log')!r}))\n"
        "while len(launch.processes()) < 2: time.sleep(0.02)\n"
        "print(*launch.processes(), flush=True)\nos.kill(os.getpid(), 9)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    pids = [int(word) for word in out.stdout.split()]
    assert len(pids) == 2
    _until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists()
                           and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids))


def test_the_launch_file_is_ours() -> None:
    command = launch_command({"episodes": "0"})
    *runner, file, argument = command
    ours = [sys.executable, "-m", "vla_infoentropy_ros.launch_runner"]
    assert runner in (ours, ["ros2", "launch"])
    assert Path(file).name == "sim.launch.xml" and argument == "episodes:=0"
