# SPDX-License-Identifier: Apache-2.0
"""The command: what it writes, how it ends, and that nothing it reads is changed."""

from __future__ import annotations

import errno
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from test.replay.making import (
    CASES,
    DATA,
    fingerprint,
    image_message,
    small_bag,
    text_message,
)
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.replay import cli, stepping
from vla_infoentropy_ros.replay.bag_reader import Bag
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.output import ReplayBag
from vla_infoentropy_ros.replay.recording import Window
from vla_infoentropy_ros.replay.types import ACTION, RAW_IMAGE, STRING, packed, stamp_ns
from vla_infoentropy_ros.variants import Variant

BRIDGE = str(DATA / "bags/bridge_ep00_mcap")
WS = str(CASES / "ws.mcap")
TINY = ["--set", "selection.fresh_tokens=4", "--instruction", "red"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_asked", lambda _: TinyPolicy())


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "replay.json").read_text())
    return found


def test_a_replay_leaves_bag_figures_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = fingerprint(CASES / "interleave"), tmp_path / "out"
    arguments = [str(CASES / "interleave"), "--selector", "attention_drift", "--compare", "dense",
                 "--compare", "attention_drift+window", "--out", str(out), *TINY]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "12 of 12 images from /camera/image_raw" in told
    assert "attention_drift against dense" in told
    found = figures(out)
    assert set(found["variants"]) == {"attention_drift", "dense", "attention_drift+window"}
    assert [(d["ours"], d["base"], d["steps"]) for d in found["differences"]] == [
        ("attention_drift", "dense", 12), ("attention_drift+window", "dense", 12)]
    assert found["images"]["used"] == 12 and not found["interrupted"]
    page = (out / "report.html").read_text()
    assert "How far apart" in page and "<script" not in page and "http" not in page.replace(
        "http://www.w3.org/2000/svg", "")
    assert fingerprint(CASES / "interleave") == before
    _check_bag(out / "bag")
    assert cli.main(arguments) == 0, "results of an earlier replay are replaced"


def _check_bag(path: Path) -> None:
    """As its own reader and that of rosbags see it; at the times of the recording."""
    kinds = {"action": "VlaAction", "selection": "TokenSelection", "status": "InferenceStatus",
             "overlay/compressed": "CompressedImage"}
    with Reader(path) as reader:
        found = {c.topic: c for c in reader.connections}
        assert reader.message_count == 3 * 4 * 12
    for name in ("attention_drift", "dense", "attention_drift_window"):
        for topic, kind in kinds.items():
            connection = found[f"/replay/{name}/{topic}"]
            assert connection.msgtype.endswith(f"/{kind}")
            assert connection.msgdef.data, "tools without this package can read it"
    with Bag(CASES / "interleave") as source:
        times = [r.time_ns for r in source.messages(["/camera/image_raw"])]
    with Bag(path) as bag:
        actions = list(bag.messages(["/replay/dense/action"]))
        overlays = list(bag.messages(["/replay/dense/overlay/compressed"]))
        statuses = list(bag.messages(["/replay/dense/status"]))
    assert [r.time_ns for r in actions] == times
    assert [r.message.sequence for r in actions] == list(range(12))
    assert {r.message.header.frame_id for r in actions} == {"base_link"}
    assert all(r.message.dry_run and r.message.instruction == "red" for r in actions)
    assert bytes(overlays[0].message.data).startswith(b"\xff\xd8")
    assert statuses[-1].message.latency_ms > 0 and statuses[-1].message.selector == "dense"


def robot_bag(tmp_path: Path, shift_m: float) -> Path:
    """What a robot's recorder leaves: images, and the live node's actions, moved by so much."""
    out = tmp_path / "first"
    assert cli.main([WS, "--selector", "dense", "--out", str(out), *TINY]) == 0
    messages = []
    with Bag(Path(WS)) as source, Bag(out / "bag") as made:
        for time_ns, _, _, m in source.messages(["/camera/image_raw"]):
            values = {"header": (stamp_ns(m.header.stamp), "camera"), "height": m.height,
                      "width": m.width, "encoding": m.encoding, "step": m.step, "data": m.data}
            messages.append(RawMessage("/image", RAW_IMAGE, time_ns, packed(RAW_IMAGE, values)))
        for time_ns, _, _, m in made.messages(["/replay/dense/action"]):
            values = {"observation_stamp": stamp_ns(m.observation_stamp), "token_ids": m.token_ids,
                      "values": m.values + np.array([shift_m, 0, 0, 0, 0, 0, 0]),
                      "gripper_convention": m.gripper_convention,
                      "rotation_convention": m.rotation_convention,
                      "frame_convention": m.frame_convention, "control_period": m.control_period}
            messages.append(RawMessage("/action", ACTION, time_ns, packed(ACTION, values)))
    return write_bag(tmp_path / "robot", messages)


def test_recorded_actions_are_compared_by_stamp(tmp_path: Path) -> None:
    path, out = robot_bag(tmp_path, 0.0), tmp_path / "out"
    assert cli.main([str(path), "--selector", "dense", "--out", str(out), *TINY]) == 0
    (gap,) = figures(out)["differences"]
    assert (gap["base"], gap["steps"], gap["equal_actions"]) == ("recorded", 6, 6)
    assert set(gap["max"].values()) == {0.0}


def test_each_instruction_is_told_with_its_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bag(tmp_path / "bag", [
        *[RawMessage("/instruction", STRING, time_ns, text_message(text))
          for time_ns, text in ((1, "red"), (35 * 10**8, "blue"))],
        *[RawMessage("/image", RAW_IMAGE, 10**9 * s, image_message(s, 9 * s))
          for s in (1, 2, 3, 4)],
    ])
    out = tmp_path / "out"
    assert cli.main([str(path), "--set", "selection.fresh_tokens=4", "--out", str(out)]) == 0
    told = "red (3 frames), blue (1 frame)"
    assert f'instruction "{told}", policy' in capsys.readouterr().out
    assert figures(out)["instructions"] == {"red": 3, "blue": 1}
    assert f"“{told}”" in (out / "report.html").read_text()


@pytest.mark.parametrize(("tolerance", "code"), [("dx=0.02", 0), ("translation=0.005", 3)])
def test_the_exit_code_follows_the_tolerance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tolerance: str, code: int
) -> None:
    path = robot_bag(tmp_path, 0.01)
    assert cli.main([str(path), "--selector", "dense", *TINY, "--tolerance", tolerance]) == code
    told = capsys.readouterr().err
    assert ("dense and recorded differ in dx by 0.01 m at stamp 1700000000." in told) == (code == 3)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemError])
def test_an_interrupted_replay_leaves_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    look, seen = stepping.Replay._look, []

    def until_the_fifth(self: Any, event: Any) -> Any:
        seen.append(event)
        if len(seen) == 5:
            raise kind
        return look(self, event)

    monkeypatch.setattr(stepping.Replay, "_look", until_the_fifth)
    arguments = [str(CASES / "interleave"), "--compare", "dense", "--out", str(tmp_path / "out")]
    if kind is KeyboardInterrupt:
        assert cli.main([*arguments, *TINY]) == 130
        assert figures(tmp_path / "out")["interrupted"]
        assert "interrupted: what follows" in (tmp_path / "out/report.html").read_text()
    else:
        with pytest.raises(SystemError):
            cli.main([*arguments, *TINY])
    with Bag(tmp_path / "out/bag") as bag:
        assert len(list(bag.messages(["/replay/dense/action"]))) == 4


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rosbags.rosbag2.storage_mcap import McapWriter

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(McapWriter, "write", full)
    assert cli.main([WS, "--out", str(tmp_path / "out"), *TINY]) == 1
    told = capsys.readouterr().err
    assert "cannot be written: No space left on device; make room" in told
    assert "Traceback" not in told


def test_a_selector_of_any_name_gives_topics_that_may_be_played(tmp_path: Path) -> None:
    policy, variants = TinyPolicy(), {"my-own.selector": Variant("dense")}
    settings = PolicyNodeSettings()
    replay = stepping.Replay(policy, variants, settings, "red")
    with (closing(replay), closing(BagRecording(Path(WS))) as recording,
          ReplayBag(tmp_path / "bag", policy, variants, settings) as bag):
        for moment in replay.moments(recording.events(Window())):
            bag.add(moment)
    with Reader(tmp_path / "bag") as reader:
        assert all(re.fullmatch(r"(/[a-z_]+)+", c.topic) for c in reader.connections)


def test_less_than_announced_is_an_error_with_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_bag(tmp_path / "bag")
    place = path / "metadata.yaml"
    place.write_text(place.read_text().replace("message_count: 3", "message_count: 7"))
    assert cli.main([str(path), *TINY, "--json", str(tmp_path / "f.json")]) == 1
    assert "/image: 7 messages announced, 3 delivered" in capsys.readouterr().err
    assert json.loads((tmp_path / "f.json").read_text())["images"]["used"] == 3


def test_figures_without_anything_to_compare_with_are_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.json"
    assert cli.main([WS, "--tolerance", "dx=0.1", "--json", str(file), *TINY]) == 1
    told = capsys.readouterr()
    assert "nothing to compare with: give --compare dense" in told.err and "images from" in told.out
    assert file.exists()


def test_what_was_rejected_is_an_error_with_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((16, 16, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    assert cli.main([str(tmp_path), *TINY]) == 1
    told = capsys.readouterr()
    assert "2 of 3 images" in told.out
    assert told.err.endswith("error: messages were rejected: see the notes\n")


def test_a_replay_that_cannot_begin_takes_no_results_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_policy(_: Any) -> TinyPolicy:
        raise SettingError("model='my_robt': no such folder")

    out = tmp_path / "out"
    arguments = [WS, "--out", str(out), *TINY]
    assert cli.main(arguments) == 0
    before = fingerprint(out)
    with monkeypatch.context() as patched:
        patched.setattr(cli, "load_asked", no_policy)
        assert cli.main(arguments) == 1
    assert "my_robt" in capsys.readouterr().err and fingerprint(out) == before


def test_folders_that_are_not_ours_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.main([WS, "--out", str(tmp_path), *TINY]) == 1
    assert "was not made by the replay" in capsys.readouterr().err
    path = small_bag(tmp_path / "results" / "bag")
    before = fingerprint(path)
    for out in (path, path.parent, path / "replayed"):
        assert cli.main([str(path), "--out", str(out), *TINY]) == 1
        assert "is where the recording" in capsys.readouterr().err
    assert fingerprint(path) == before
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_what_is_replayed_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main([WS, "--out", str(out), *TINY]) == 0
    before = fingerprint(out)
    (file,) = (out / "bag").glob("*.mcap")
    for where in (["--out", str(out)], ["--json", str(file)]):
        assert cli.main([str(file), *where, *TINY]) == 1
        assert " lies" in capsys.readouterr().err
    assert cli.main([str(out / "bag"), "--json", str(out / "bag/figures.json"), *TINY]) == 1
    assert fingerprint(out) == before


def test_a_link_in_the_place_of_the_bag_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere = tmp_path / "out", small_bag(tmp_path / "elsewhere")
    assert cli.main([WS, "--out", str(out), *TINY]) == 0
    before = fingerprint(elsewhere)
    for target in (elsewhere, tmp_path / "gone"):
        (out / "bag").rename(tmp_path / f"bag_{target.name}")
        (out / "bag").symlink_to(target)
        assert cli.main([WS, "--out", str(out), *TINY]) == 1
        assert "bag exists and is no bag: move it away" in capsys.readouterr().err
        (out / "bag").unlink()
        (tmp_path / f"bag_{target.name}").rename(out / "bag")
    assert fingerprint(elsewhere) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([str(DATA / "bad/empty_bag")], "holds no messages"),
        ([str(DATA / "bad/missing_metadata")], "reindex"),
        ([str(DATA / "bad/missing_metadata/multiple_files_0.mcap")], "holds no images"),
        ([str(DATA / "bad/wrong_serialization")], "only cdr"),
        ([str(CASES / "corrupt.mcap"), *TINY], "`mcap recover corrupt.mcap"),
        ([BRIDGE], "3 image topics"),
        ([BRIDGE, "--image-topic", "/bridge/image_0/compresed"], "did you mean /bridge/image_0/c"),
        ([BRIDGE, "--selector", "denze"], "denze"),
        ([BRIDGE, "--set", "k9=3"], "'k9' is unknown"),
        ([BRIDGE, "--set", "k1=3"], "did you mean selection.k1?"),
        ([BRIDGE, "--set", "session.decode=window"], "it has a flag, --selector, as NAME+window"),
        ([BRIDGE, "--set", "model=x"], "it has a flag, --model"),
        ([BRIDGE, "--set", "selection.fresh_tokens"], "name=value"),
        ([BRIDGE, "--set", "selection.fresh_tokens=many"], "no int"),
        ([BRIDGE, "--instruction-topic", "/x"], "/instruction"),
        ([BRIDGE, "--image-topic", "/x"], "/bridge/image_0"),
        ([WS, "--start", "5", "--end", "2"], "before the end"),
        ([WS, "--json", "/tmp", *TINY], "--json '/tmp' cannot be written: Is a directory; name an"),
        ([WS, "--start", "100", *TINY], "no frame"),
        ([WS, "--start", "nan", *TINY], "--start nan: give seconds from the beginning"),
        ([WS, "--end", "inf", *TINY], "--end inf: give seconds from the beginning"),
        ([WS, "--every", "0", *TINY], "--every 0"),
        ([WS, "--selector", "dense", "--compare", "dense", *TINY], "--compare dense is replayed"),
        ([WS, "--episode", "5", *TINY], "--episode 5: "),
        ([WS, "--rate", "nan", *TINY], "--rate nan: "),
        ([WS, "--tolerance", "dw=0.1", *TINY], "NAME is one of"),
        ([str(DATA / "bags/piper_arm_one_frame.mcap"), "--image-topic", "/camera/cam_top/image"],
         "came while no instruction was in force"),
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
