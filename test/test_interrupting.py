# SPDX-License-Identifier: Apache-2.0
"""A signal ends nodes and commands at any time, also while their libraries are being imported."""

import os
import signal
import subprocess
import sys

import pytest

from test.trees import child_path
from vla_infoentropy_ros.interrupting import interruptible, terminable

PATIENCE_S = 60.0


def with_hangups():
    """In a child: as from a terminal, whoever runs the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_what_nohup_started_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_interrupted_ends_with_a_word(number, capsys):
    before = signal.getsignal(number)
    assert interruptible(lambda: 3) == 3
    assert interruptible(lambda: os.kill(os.getpid(), number) or 0) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("command", "library", "code", "told"),
    [
        (["vla_infoentropy_ros", "replay", "bag"], "torch", 130, "interrupted"),
        (["vla_infoentropy_ros.start_node", "policy_node"], "rclpy", 0, "policy_node: interrupted"),
    ],
)
def test_a_signal_while_a_library_is_imported(tmp_path, command, library, code, told, number):
    """One that takes for ever, in its place."""
    (tmp_path / f"{library}.py").write_text(
        "import time\nprint('IMPORTING', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", *command], text=True, preexec_fn=with_hangups,
        env=os.environ | {"PYTHONPATH": child_path(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline().strip() == "IMPORTING"
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code and told in err and "Traceback" not in err
