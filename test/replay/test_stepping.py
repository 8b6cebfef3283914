# SPDX-License-Identifier: Apache-2.0
"""The skin: bags through the driving core, each image accounted for, by the node's rules."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test.nodes.policies import load
from test.replay.making import (
    CASES,
    FRAMES,
    episode_message,
    frame_message,
    image_message,
    small_bag,
    text_message,
)
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.opening import open_recording
from vla_infoentropy_ros.replay.recording import (
    JOINT_STATES,
    RAW,
    Event,
    Window,
    joint_states,
    raw_image,
)
from vla_infoentropy_ros.replay.stepping import Account, Moment, Replay
from vla_infoentropy_ros.replay.types import EPISODE, POSE, RAW_IMAGE, STRING, packed
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.variants import Variant

SETTINGS = PolicyNodeSettings(selection=SelectionSettings(fresh_tokens=4))
FIRST_S = 1_700_000_000


def run(path: Path, *names: str, instruction: str = "red", every: int = 1,
        window: Window | None = None, settings: PolicyNodeSettings = SETTINGS,
        ) -> tuple[list[Moment], Replay]:
    """Moments of a bag and the closed replay."""
    variants = {name: Variant.parse(name) for name in names or ("dense",)}
    with (closing(BagRecording(path)) as recording,
          closing(Replay(TinyPolicy(), variants, settings, instruction, every)) as replay):
        found = list(replay.moments(recording.events(window or Window())))
        assert recording.shortfalls() == []
        return found, replay


def told(replay: Replay) -> str:
    return "; ".join(replay.notes("/camera/image_raw"))


@pytest.mark.parametrize(
    ("case", "used"),
    [("split_oneq", 6), ("interleave", 12), ("wrongorder", 12), ("mixed.mcap", 4),
     ("bayer.mcap", 4), ("c_bayer.mcap", 4), ("c_rgb.mcap", 4), ("ws.mcap", 6)],
)
def test_every_image_is_acted_on_in_the_order_of_stamps(case: str, used: int) -> None:
    moments, replay = run(CASES / case, "attention_drift")
    assert replay.account == Account(received=used, used=used)
    stamps = [moment.stamp_ns for moment in moments]
    assert stamps == sorted(set(stamps)) and len(stamps) == used
    reasons = [moment.steps["attention_drift"].result.invalidated for moment in moments]
    assert reasons == ["first_frame", *[""] * (used - 1)], "no clock_backwards among them"
    assert told(replay) == ""


def test_repeated_stamps_are_dropped_as_in_the_node() -> None:
    moments, replay = run(CASES / "samestamp.mcap")
    assert (len(moments), replay.account.dropped.total()) == (1, 3)
    assert told(replay) == "3 images dropped: same stamp as the last"


def test_two_cameras_on_one_topic_share_nothing() -> None:
    moments, replay = run(CASES / "twocams.mcap", "attention_drift")
    reasons = {moment.steps["attention_drift"].result.invalidated for moment in moments[1:]}
    assert (len(moments), reasons) == (8, {"image_changed"})
    assert "several cameras share /camera/image_raw" in told(replay)


def test_one_bad_picture_is_rejected_and_counted() -> None:
    moments, replay = run(CASES / "c_trunc.mcap")
    assert len(moments) == 3
    assert dict(replay.account.rejected) == {
        "cannot be decoded: cut off or damaged jpeg data": 1}
    assert replay.account.received == 4


def test_the_red_square_is_red_in_every_encoding() -> None:
    for case in ("c_rgb.mcap", "c_bayer.mcap"):
        seen = _pictures(CASES / case)
        for rgb in seen:
            red = (rgb[..., 0] > 180) & (rgb[..., 1] < 90) & (rgb[..., 2] < 90)
            blue = (rgb[..., 2] > 180) & (rgb[..., 0] < 90)
            assert red.sum() > 50 and blue.sum() == 0, case


def _pictures(path: Path) -> list[np.ndarray]:
    from vla_infoentropy_ros.driving.images import PackedPicture

    with closing(BagRecording(path)) as recording:
        return [PackedPicture.of(event.content).rgb() for event in recording.events(Window())
                if event.kind == "compressed"]


def test_the_recorded_instruction_is_trimmed_and_in_force(tmp_path: Path) -> None:
    moments, _ = run(_bag(tmp_path, "  red \n"), instruction="")
    assert {moment.instruction for moment in moments} == {"red"}


def _bag(path: Path, text: str, after: bool = False) -> Path:
    told_ns = 25 if after else 10
    return write_bag(path / "bag", [
        RawMessage("/instruction", STRING, told_ns, text_message(text)),
        *[RawMessage("/image", RAW_IMAGE, 10**9 * s + 20, image_message(s, 9 * s))
          for s in (1, 2, 3)],
    ])


def test_images_before_the_instruction_are_not_used(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", [
        RawMessage("/image", RAW_IMAGE, 10**9, image_message(1, 5)),
        RawMessage("/instruction", STRING, 15 * 10**8, text_message("red")),
        RawMessage("/image", RAW_IMAGE, 2 * 10**9, image_message(2, 6)),
    ])
    moments, replay = run(path, instruction="")
    assert [moment.stamp_ns for moment in moments] == [2 * 10**9]
    assert replay.account.unused == 1
    assert "1 image came while no instruction was in force" in told(replay)
    assert len(run(path, instruction="red")[0]) == 2


def test_several_instructions_are_told_and_none_is_taken(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", [
        RawMessage("/left/instruction", STRING, 10, text_message("red")),
        RawMessage("/right/instruction", STRING, 20, text_message("blue")),
        RawMessage("/image", RAW_IMAGE, 10**9, image_message(1, 5)),
    ])
    with closing(BagRecording(path)) as recording:
        (note,) = recording.notes
        assert "/left/instruction, /right/instruction: --instruction-topic names one" in note
    with closing(BagRecording(path, instruction_topic="/right/instruction")) as recording:
        assert recording.notes == []


def test_a_simulator_s_second_run_is_an_episode_of_its_own(tmp_path: Path) -> None:
    """Its stamps begin anew, and recording goes on."""
    stamps_s = (5, 6, 7, 1, 2, 3, 4)
    path = write_bag(tmp_path / "bag", [
        RawMessage("/image", RAW_IMAGE, (FIRST_S + place) * 10**9, image_message(s, 9 * place))
        for place, s in enumerate(stamps_s)
    ])
    moments, replay = run(path, "attention_drift")
    assert [moment.stamp_ns // 10**9 for moment in moments] == [*stamps_s]
    results = [moment.steps["attention_drift"].result for moment in moments]
    assert [r.invalidated for r in results] == [
        "first_frame", "", "", "clock_backwards", "", "", ""]
    assert replay.account.used == 7 and not replay.account.dropped
    assert "stepped back while recording went on, 1 time," in told(replay)


def test_a_state_in_simulated_time_is_as_old_as_its_stamp_says(tmp_path: Path) -> None:
    turn = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
    path = write_bag(tmp_path / "bag", [each for place, s in enumerate((5, 6, 1, 2)) for each in (
        RawMessage("/ee_pose", POSE, (FIRST_S + place) * 10**9, packed(POSE, {
            "header": (s * 10**9, "base_link"),
            "pose": {"position": {"x": 0.1 * s, "y": 0.0, "z": 0.2}, "orientation": turn}})),
        RawMessage("/image", RAW_IMAGE, (FIRST_S + place) * 10**9 + 1, image_message(s, 9 * s)),
    )])
    settings = PolicyNodeSettings.from_values({"state.source": "ee_pose"})
    with (closing(BagRecording(path, states=("ee_pose",))) as recording,
          closing(Replay(load("with_state:6", LoadOptions()), {"dense": Variant("dense")}, settings,
                         "red")) as replay):
        moments = list(replay.moments(recording.events(Window())))
        states = [moment.steps["dense"].frame.state for moment in moments]
        np.testing.assert_allclose([state[0] for state in states], [0.5, 0.6, 0.1, 0.2])
        assert "ages are reckoned from stamps alone" in told(replay)


def test_the_end_of_an_episode_begins_a_new_one(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", [
        *[RawMessage("/image", RAW_IMAGE, 10**9 * s, image_message(s, s)) for s in (1, 2, 3)],
        RawMessage("/episode", EPISODE, 25 * 10**8, episode_message()),
    ])
    moments, _ = run(path, "attention_drift")
    results = [moment.steps["attention_drift"].result for moment in moments]
    assert [r.invalidated for r in results] == ["first_frame", "", "new_episode"]
    assert [r.t for r in results] == [0, 1, 0]


def test_a_window_and_every_other_image() -> None:
    window = Window(start_ns=10**9, end_ns=2 * 10**9)
    moments, replay = run(CASES / "interleave", instruction="", window=window)
    seconds = [moment.time_ns / 1e9 - FIRST_S for moment in moments]
    assert seconds and all(0.8 <= s < 1.8 for s in seconds)
    assert replay.account.unused == 0, "what was told before the window is told at its beginning"
    moments, replay = run(CASES / "interleave", every=3)
    assert (len(moments), replay.account.skipped) == (4, 8)
    for wrong in ((-1, 5), (5, 5)):
        with pytest.raises(BagError, match="--start"):
            Window(*wrong)


def test_variants_take_turns_on_the_same_pictures_decoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded = []
    from vla_infoentropy_ros.driving.images import RawPicture

    rgb = RawPicture.rgb
    monkeypatch.setattr(RawPicture, "rgb", lambda self: decoded.append(self) or rgb(self))
    moments, _ = run(CASES / "ws.mcap", "attention_drift", "dense", "info_entropy")
    assert len(decoded) == len(moments) == 6
    assert all(set(m.steps) == {"attention_drift", "dense", "info_entropy"} for m in moments)
    assert moments[-1].steps["attention_drift"].result.report.reused > 0
    assert moments[-1].steps["dense"].result.report.reused == 0


def test_a_policy_that_fails_on_one_frame_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from vla_infoentropy_ros.session import Session

    step, calls = Session.step, []

    def failing(self: Session, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Session, "step", failing)
    moments, replay = run(CASES / "ws.mcap")
    assert len(moments) == 5
    assert dict(replay.account.failed) == {"RuntimeError: out of memory": 1}


def test_steps_that_one_variant_failed_on_are_no_images_without_an_instruction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vla_infoentropy_ros.session import Session

    step = Session.step

    def failing(self: Session, *args: Any, **kwargs: Any) -> Any:
        if self.selector.name == "info_entropy":
            raise RuntimeError("out of memory")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Session, "step", failing)
    _, replay = run(CASES / "ws.mcap", "dense", "info_entropy")
    failed = Counter({"info_entropy: RuntimeError: out of memory": 6})
    for _ in range(2):
        assert replay.account == Account(received=6, used=6, failed=failed)


def test_images_that_came_too_soon_are_told_from_those_without_an_instruction() -> None:
    slow = replace(SETTINGS, node=replace(SETTINGS.node, max_rate_hz=1.0))
    moments, replay = run(CASES / "ws.mcap", settings=slow)
    assert len(moments) == 2 and replay.account.unused == 0
    assert told(replay) == (
        "4 images dropped: no action was due, by command.execute_actions or max_rate_hz")


def test_a_joint_state_beyond_its_budget_is_dropped_as_in_the_node() -> None:
    names = [f"joint_{number}" for number in range(1001)]

    def events() -> Iterator[Event]:
        yield Event(1, JOINT_STATES, joint_states(10**9, names, [0.0] * len(names)))
        yield Event(10**9, RAW, raw_image(10**9, "camera", np.zeros((8, 8, 3), np.uint8)))

    with closing(Replay(TinyPolicy(), {"dense": Variant("dense")}, SETTINGS, "red")) as replay:
        assert len(list(replay.moments(events()))) == 1
        assert told(replay).startswith("1 message dropped: joint_states: 1,001 names, at most")


@pytest.mark.parametrize(("window", "seen"), [(Window(), [0.3, 0.4]),
                                              (Window(start_ns=15 * 10**8), [0.4])])
def test_a_state_is_read_from_tf_as_in_the_node(
    tmp_path: Path, window: Window, seen: list[float]
) -> None:
    path = write_bag(tmp_path / "bag", [
        RawMessage("/tf_static", FRAMES, 10**9, frame_message(9, ("base_link", "arm", 0.1))),
        *[RawMessage("/tf", FRAMES, s * 10**9 + 5, frame_message(
            s, ("arm", "x" * 5000, 1.0), ("arm", "tool0", 0.1 * s))) for s in (2, 3)],
        *[RawMessage("/image", RAW_IMAGE, s * 10**9 + 9, image_message(s, 10 * s))
          for s in (2, 3)],
    ])
    settings = PolicyNodeSettings.from_values(
        {"command.pose_source": "tf", "state.source": "ee_pose"})
    asked = argparse.Namespace(recording=path, image_topic=[], instruction_topic="",
                               episode=None, rate=None, state_source="ee_pose", state_joints="")
    with (closing(open_recording(asked, settings.command.pose_source)) as recording,
          closing(Replay(load("with_state:6", LoadOptions()), {"dense": Variant("dense")}, settings,
                         "red")) as replay):
        moments = list(replay.moments(recording.events(window)))
    states = [moment.steps["dense"].frame.state for moment in moments]
    np.testing.assert_allclose(states, [[x, 0, 0, 0, 0, 0] for x in seen], atol=1e-9)
    assert any(note.startswith(f"{len(seen)} message") and "a frame of TF" in note
               for note in replay.notes("image")), "one that is refused leaves the others"
    with pytest.raises(BagError, match=r"no tf2_msgs/msg/TFMessage on a topic called tf in"):
        BagRecording(CASES / "ws.mcap", states=("tf", "tf_static"))


def test_an_image_without_a_stamp_is_rejected_as_in_the_node() -> None:
    def events() -> Iterator[Event]:
        yield Event(10**9, RAW, raw_image(0, "camera", np.zeros((8, 8, 3), np.uint8)))

    with closing(Replay(TinyPolicy(), {"dense": Variant("dense")}, SETTINGS, "red")) as replay:
        assert list(replay.moments(events())) == []
        assert "its stamp is zero" in told(replay)


def test_small_bags_of_both_kinds(tmp_path: Path) -> None:
    for storage in ("mcap", "sqlite3"):
        _, replay = run(small_bag(tmp_path / storage, storage))
        assert replay.account.received == 3
