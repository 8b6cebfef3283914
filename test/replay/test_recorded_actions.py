# SPDX-License-Identifier: Apache-2.0
"""What a live node decided, as a bag holds it: which of it is compared, and what is told of the
rest."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from test.replay.making import image_message
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.recording import RecordedAction, Window
from vla_infoentropy_ros.replay.types import ACTION, RAW_IMAGE, packed


def action(stamp_s: int, topic: str = "/policy_node/action", **changes: Any) -> RawMessage:
    """A node's decision on the image of that stamp."""
    values = {"observation_stamp": stamp_s * 10**9, "values": np.full(7, 0.5),
              "gripper_convention": "minus_one_is_open", "rotation_convention": "axis_angle",
              "frame_convention": "end_effector", "control_period": 0.05} | changes
    return RawMessage(topic, ACTION, stamp_s * 10**9 + 5, packed(ACTION, values))


def read(path: Path, *actions: RawMessage, images: str = "/image", announced: int = 0
         ) -> tuple[list[RecordedAction], list[str], list[str]]:
    """Actions, shortfalls and notes of a bag with an image for each second."""
    place = write_bag(path, [*actions, *[
        RawMessage(images, RAW_IMAGE, s * 10**9, image_message(s, s)) for s in range(1, 5)
    ]]) / "metadata.yaml"
    if announced:
        number = f"message_count: {len(actions)}"
        assert place.read_text().count(number) == 1
        place.write_text(place.read_text().replace(number, f"message_count: {announced}"))
    with closing(BagRecording(path)) as recording:
        list(recording.events(Window()))
        found = recording.actions()
        return found, recording.shortfalls(), recording.notes


def test_an_action_says_how_it_is_to_be_read(tmp_path: Path) -> None:
    (found,), lost, notes = read(tmp_path / "bag", action(2))
    assert (found.gripper, found.rotation, found.frame, found.control_period_s) == (
        "minus_one_is_open", "axis_angle", "end_effector", 0.05)
    assert (found.stamp_ns, found.time_ns, lost, notes) == (2 * 10**9, 2 * 10**9 + 5, [], [])


def test_fewer_actions_than_were_announced_are_told(tmp_path: Path) -> None:
    _, (lost,), _ = read(tmp_path / "bag", action(1), action(2), announced=40)
    assert lost.startswith("/policy_node/action: 40 messages announced, 2 delivered")


def test_actions_that_are_none_are_dropped_and_counted(tmp_path: Path) -> None:
    found, _, notes = read(
        tmp_path / "bag", action(1), action(2, values=np.full(7, np.nan)),
        action(3, gripper_convention="half_open"),
    )
    assert [each.stamp_ns for each in found] == [10**9]
    assert notes[0] == "1 action on /policy_node/action dropped: its values are not finite"
    assert "gripper='half_open' is not among one_is_open" in notes[1]


def test_actions_that_nobody_can_read_do_not_cost_the_replay(tmp_path: Path) -> None:
    bad = RawMessage("/action", ACTION, 5, b"\0\1\0\0")
    found, (lost,), (note,) = read(tmp_path / "bag", bad)
    assert found == [] and lost.startswith("/action: 1 message announced, 0 delivered")
    assert "compared with none: a message on /action" in note


def test_actions_of_two_nodes_are_not_mixed(tmp_path: Path) -> None:
    both = [action(s, f"/{arm}/action", step=place) for s in (1, 2)
            for place, arm in enumerate(("left", "right"))]
    for images, step in (("/image", 0), ("/right/image", 1)):
        found, _, (note,) = read(tmp_path / f"bag{step}", *both, images=images)
        assert [each.step for each in found] == [step, step]
        assert f"those on /{('left', 'right')[step]}/action alone" in note
