# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: real processes, real DDS, real launch file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vla_infoentropy_ros.demo import main
from vla_infoentropy_ros.replay.bag_reader import Bag
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.recording import INSTRUCTION, RAW, Window
from vla_infoentropy_ros.replay.types import ACTION, stamp_ns

_READY_S, _RUN_S = 120.0, 240.0
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class Demo:
    """``python -m vla_infoentropy_ros demo`` in a process of its own."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.out = out
        self._stderr = out.parent / f"{out.name}.stderr"
        with self._stderr.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vla_infoentropy_ros", "demo", "--out", str(out),
                 *arguments],
                stdout=subprocess.PIPE, stderr=sink, env=_ENVIRONMENT, text=True,
            )

    @property
    def told(self) -> str:
        """What it wrote to stderr so far."""
        return self._stderr.read_text(errors="replace")

    @property
    def domain(self) -> int:
        """The domain it took; waits until it says so."""
        found = self._wait_for(r"ROS_DOMAIN_ID=(\d+)", lambda: self.told)
        return int(found.group(1))

    def wait_until_running(self) -> None:
        """Until the first episode has begun (the policy is enabled for it)."""
        log = self.out / "nodes.log"
        self._wait_for("the robot will move", lambda: log.read_text() if log.exists() else "")

    def nodes(self) -> dict[str, int]:
        """Process ids of its nodes, by name."""
        text = (self.out / "nodes.log").read_text()
        found = re.findall(r"\[(\w+)-\d+\]:? process started with pid \[(\d+)\]", text)
        return {name: int(pid) for name, pid in found}

    def end(self) -> tuple[int, str]:
        """Exit code and standard output."""
        out, _ = self.process.communicate(timeout=_RUN_S)
        return self.process.returncode, out

    def _wait_for(self, pattern: str, text: object) -> re.Match[str]:
        limit = time.monotonic() + _READY_S
        while time.monotonic() < limit:
            found = re.search(pattern, text())  # type: ignore[operator]
            if found:
                return found
            assert self.process.poll() is None, self.told
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} did not come up in {_READY_S} s: {self.told}")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "demo", "--episodes", "1", "--selectors",
                   "dense,info_entropy,attention_drift")
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)


def _alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def test_two_demos_at_once_both_end_well(demo: Demo, tmp_path: Path) -> None:
    other = Demo(tmp_path / "other", "--episodes", "1", "--selectors", "attention_drift",
                 "--seed", "1000005")
    try:
        assert demo.domain != other.domain
        code, table = demo.end()
        assert code == 0, demo.told
        assert other.end()[0] == 0, other.told
    finally:
        other.process.kill()
    for one in (demo, other):
        assert one.nodes().keys() == {"policy_node", "sim_node"}
        assert not any(_alive(pid) for pid in one.nodes().values())
        assert "Traceback" not in one.told + (one.out / "nodes.log").read_text()
    _check_summary(json.loads((demo.out / "summary.json").read_text()))
    alone = json.loads((other.out / "summary.json").read_text())
    assert alone["seeds"] == [1000005]
    assert "attention_drift" in table and "speed-up" in table
    _check_bag(demo.out / "bag")
    assert (demo.out / "report.html").stat().st_size > 100_000
    assert any((demo.out / f"overlay.{kind}").exists() for kind in ("mp4", "gif"))


def _check_summary(summary: dict) -> None:
    assert summary["middleware"] == "rclpy"
    assert summary["versions"]["rmw"].startswith("rmw_")
    assert summary["episodes"] == 1
    assert summary["seeds"] == [1_000_000]
    for name in ("dense", "info_entropy", "attention_drift"):
        figures = summary[name]
        assert figures["success_rate"] in (0.0, 1.0)
        assert len(figures["success_ci95"]) == 2
        assert 1 <= figures["steps_mean"] <= 40
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
        assert all(value is not None for value in figures["stages_ms"].values())
        assert figures["flops_per_step"] > 0
        assert 0 < figures["recomputed_fraction"] <= 1
        assert figures["command_latency_ms"]["p50"] > figures["latency_ms"]["p50"]
        assert ("speedup_p50" in figures) == (name != "dense")
    assert summary["dense"]["recomputed_fraction"] == 1.0
    assert summary["attention_drift"]["fresh_tokens_mean_after_first"] == 64
    assert summary["notes"] == [], "no message was lost"


def _check_bag(path: Path) -> None:
    with Bag(path) as bag:
        assert bag.topics(ACTION) == ["/sim/action"]
        assert bag.topics("geometry_msgs/msg/TwistStamped") == ["/sim/twist_command"]
    with closing(BagRecording(path)) as recording:
        told, *images = recording.events(Window())
        actions = recording.actions()
    assert told.kind == INSTRUCTION and told.content.startswith("put the")
    assert [stamp_ns(event.content.header.stamp) for event in images if event.kind == RAW] == [
        action.stamp_ns for action in actions
    ]
    assert actions


@pytest.mark.parametrize("name", ["policy_node", "sim_node"])
def test_a_node_killed_in_an_episode(demo: Demo, name: str) -> None:
    demo.wait_until_running()
    nodes = demo.nodes()
    os.kill(nodes[name], signal.SIGKILL)
    code, _ = demo.end()
    assert code == 1
    assert f"error: {name} ended by signal" in demo.told
    assert "SIGKILL" in demo.told
    assert "The last lines of its log" in demo.told
    assert "Traceback" not in demo.told
    assert not any(_alive(pid) for pid in nodes.values())
    assert not (demo.out / "summary.json").exists()


def test_ctrl_c(demo: Demo) -> None:
    demo.wait_until_running()
    nodes = demo.nodes()
    demo.process.send_signal(signal.SIGINT)
    assert demo.end()[0] == 130
    assert "interrupted; all nodes are stopped" in demo.told
    assert "Traceback" not in demo.told
    assert not any(_alive(pid) for pid in nodes.values())


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo", "--model", "/no/such/folder")
    code, _ = demo.end()
    assert code == 1
    assert "error: policy_node ended" in demo.told
    assert "/no/such/folder" in demo.told
    assert "Traceback" not in demo.told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--selectors", "dense,denze"], "'denze' is not among dense, info_entropy"),
        (["--selectors", ","], "names none"),
        (["--episodes", "0"], "0 is outside 1 .. 10000"),
        (["--episodes", "many"], "'many' is no whole number"),
        (["--domain", "999"], "domain 999 is outside 0 .. 232"),
        (["--out", "/dev/null/demo"], "Not a directory"),
    ],
)
def test_mistakes(
    tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as end:  # how argparse refuses
        code = int(end.code or 0)
    assert code in (1, 2)
    assert told in capsys.readouterr().err
