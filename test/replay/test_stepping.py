# SPDX-License-Identifier: Apache-2.0
"""Replay with the tiny policy: the real session, frames without ROS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from test.replay.making import DATA, fingerprint, small_bag
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.replay import cli
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.recording import RecordedAction
from vla_infoentropy_ros.replay.stepping import (
    Frame,
    against_recording,
    difference,
    step_through,
)
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.session import Session


def _frames(count: int = 4, instruction: str = "red") -> Iterator[Frame]:
    rng = np.random.default_rng(0)
    for i in range(count):
        image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        yield Frame((i + 1) * 100_000_000, (image,), instruction, False)


def _sessions(*names: str) -> dict[str, Session]:
    policy = TinyPolicy()
    settings = SelectionSettings(fresh_tokens=4)
    return {name: Session(policy, build_selector(name, "linear", settings)) for name in names}


def test_same_selector_same_actions() -> None:
    first, _ = step_through(_frames(), _sessions("dense"), "")
    again, _ = step_through(_frames(), _sessions("dense"), "")
    found = difference(first[0], again[0])
    assert found["equal_actions"] == found["steps"] == 4
    assert set(found["max"].values()) == {0.0}


def test_reuse_is_counted() -> None:
    tracks, followed = step_through(_frames(), _sessions("attention_drift", "dense"), "")
    ours, base = (track.figures() for track in tracks)
    assert followed == "red"
    assert base["recomputed_fraction"] == 1.0
    assert ours["recomputed_fraction"] < 1.0
    assert ours["full_steps"] == 1
    assert tracks[0].invalidated[0] == "first_frame"


def test_a_new_episode_resets() -> None:
    frames = list(_frames())
    frames[2] = Frame(frames[2].stamp_ns, frames[2].images, "red", True)
    tracks, _ = step_through(frames, _sessions("attention_drift"), "")
    assert [bool(reason) for reason in tracks[0].invalidated] == [True, False, True, False]


def test_without_instruction_or_frames() -> None:
    with pytest.raises(BagError, match="--instruction"):
        step_through(_frames(instruction=""), _sessions("dense"))
    with pytest.raises(BagError, match="no frame"):
        step_through([], _sessions("dense"))


def test_recorded_actions_match_by_stamp() -> None:
    tracks, _ = step_through(_frames(), _sessions("dense"))
    track = tracks[0]
    live = [RecordedAction(track.stamps_ns[1], track.values[1], track.tokens[1], 1),
            RecordedAction(5, np.zeros(7), (), 9)]
    found = against_recording(track, live)
    assert found is not None
    assert (found["steps"], found["equal_actions"]) == (1, 1)
    assert against_recording(track, live[1:]) is None


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_policy", lambda *_, **__: TinyPolicy())


@pytest.mark.usefixtures("tiny")
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_bag(tmp_path / "bag")
    before = fingerprint(path)
    out = tmp_path / "out" / "figures.json"
    code = cli.main([str(path), "--compare", "dense", "--instruction", "red", "--json", str(out),
                     "--set", "fresh_tokens=4"])
    assert code == 0
    told = capsys.readouterr().out
    assert "3 frames from /image" in told
    assert "attention_drift against dense" in told
    figures = json.loads(out.read_text())
    assert figures["selectors"]["attention_drift"]["difference_to_dense"]["steps"] == 3
    assert fingerprint(path) == before


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([str(DATA / "bad/empty_bag")], "holds no messages"),
        ([str(DATA / "bad/missing_metadata")], "reindex"),
        ([str(DATA / "bad/wrong_serialization")], "only cdr"),
        ([str(DATA / "bags/bridge_ep00_mcap")], "3 image topics"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--selector", "denze"], "denze"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--set", "k9=3"], "k9"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--set", "fresh_tokens"], "name=value"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--set", "fresh_tokens=many"], "no int"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--instruction-topic", "/x"], "/instruction"),
        ([str(DATA / "bags/bridge_ep00_mcap"), "--image-topic", "/x"], "/bridge/image_0"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
