# SPDX-License-Identifier: Apache-2.0
"""A bag replayed offline, and played into the node over the middleware, are the same to the bit."""

from __future__ import annotations

from array import array
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from test.nodes.harness import driven, until
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.nodes.messages import to_ns, to_time
from vla_infoentropy_ros.nodes.qos import NEWEST
from vla_infoentropy_ros.replay.bag_reader import Bag, Recorded
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.recording import Window
from vla_infoentropy_ros.replay.stepping import Replay
from vla_infoentropy_ros.replay.types import (
    COMPRESSED_IMAGE,
    RAW_IMAGE,
    STRING,
    packed,
    stamp_ns,
)
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.variants import Variant

pytestmark = pytest.mark.usefixtures("ros")

FIRST_NS = 1_700_000_000 * 10**9
FAR_NS = 2_140_000_000 * 10**9  # ahead of every clock
PERIOD_NS = 200_000_000
# What is wrong with the image at this place, if anything.
FAULTS = {3: "same stamp", 5: "older stamp", 7: "encoding", 8: "other frame", 10: "no stamp",
          12: "ahead", 13: "damaged", 15: "gap"}
COUNT = 18


def load(kind: str, options: Any) -> TinyPolicy:
    """What ``model`` names."""
    return TinyPolicy()


def recording(path: Path, compressed: bool) -> Path:
    """An instruction with blanks around it and a camera with every fault; its bag."""
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (24, 32, 3), np.uint8)
    messages = [RawMessage("/instruction", STRING, FIRST_NS, packed(STRING, {"data": "  red \n"}))]
    topic = "/image/compressed" if compressed else "/image"
    taken_ns = FIRST_NS
    for index in range(COUNT):
        fault = FAULTS.get(index, "")
        picture = picture.copy()
        picture[rng.integers(24), rng.integers(32)] = rng.integers(0, 256, 3)
        picture[8:14, index : index + 6] = 255 - picture[8:14, index : index + 6]
        if fault != "same stamp":
            taken_ns += 2_000_000_000 if fault == "gap" else PERIOD_NS
        stamp = {"older stamp": taken_ns - 3 * PERIOD_NS, "no stamp": 0, "ahead": FAR_NS}.get(
            fault, taken_ns)
        header = (stamp, "other" if fault == "other frame" else "camera")
        if compressed:
            data = cv2.imencode(".png", picture)[1].tobytes()
            values = {"format": "tiff" if fault == "encoding" else "png",
                      "data": np.frombuffer(data[:200] if fault == "damaged" else data, np.uint8)}
        else:
            values = {"height": 24, "width": 32, "step": 96, "data": picture.ravel(),
                      "encoding": "16UC1" if fault == "encoding" else "rgb8"}
            if fault == "damaged":
                values["data"] = picture.ravel()[:-7]
        kind = COMPRESSED_IMAGE if compressed else RAW_IMAGE
        messages.append(RawMessage(topic, kind, taken_ns + 1000 * index,
                                   packed(kind, {"header": header, **values})))
    return write_bag(path, messages)


def told(message: Recorded) -> Any:
    """A recorded image as rclpy's message."""
    given = message.message
    header = Header(stamp=to_time(stamp_ns(given.header.stamp)), frame_id=given.header.frame_id)
    data = array("B", bytes(given.data))
    if message.type_name == COMPRESSED_IMAGE:
        return CompressedImage(header=header, format=given.format, data=data)
    return Image(header=header, height=given.height, width=given.width, encoding=given.encoding,
                 step=given.step, data=data)


Decision = tuple[int, int, str, tuple[int, ...], bytes]
"""Stamp of the observation, step, instruction, tokens, the values' bytes."""


def offline(path: Path, selector: str) -> tuple[list[Decision], tuple[int, int, int]]:
    settings = PolicyNodeSettings(selection=SelectionSettings(fresh_tokens=4))
    with (closing(BagRecording(path)) as bag,
          closing(Replay(TinyPolicy(), {selector: Variant.parse(selector)}, settings)) as run):
        decisions: list[Decision] = []
        for moment in run.moments(bag.events(Window())):
            action = moment.steps[selector].result.action
            decisions.append((
                moment.stamp_ns, moment.steps[selector].result.t, moment.instruction,
                tuple(action.token_ids), np.asarray(action.values, np.float64).tobytes(),
            ))
        account = run.account
    counts = account.received, account.dropped.total(), account.rejected.total()
    return decisions, counts


def live(path: Path, selector: str) -> tuple[list[Decision], tuple[int, int, int]]:
    with Bag(path) as bag:
        images = list(bag.messages(bag.topics(RAW_IMAGE, COMPRESSED_IMAGE)))
        (instruction,) = bag.messages(bag.topics(STRING))
    compressed = images[0].type_name == COMPRESSED_IMAGE
    transport = {"image_transport": "compressed"} if compressed else {}
    with driven(model=f"{__name__}:load", selector=selector, selection__fresh_tokens=4,
                command__dry_run=True, **transport) as (robot, node, _):
        camera = robot.camera
        if compressed:
            camera = robot.create_publisher(CompressedImage, "image/compressed", NEWEST)
            until(camera.get_subscription_count, "nobody listens to the camera")
        robot.say(instruction.message.data)
        until(lambda: robot.status.instruction == "red", "not instructed", lambda: robot.status)
        counters = node.driver.intake.counters

        def handled() -> int:
            return (len(robot.actions) + counters.frames_dropped + counters.frames_rejected)

        for place, recorded in enumerate(images, start=1):
            camera.publish(told(recorded))
            until(lambda place=place: handled() == place, "an image is not answered", handled)
        counts = counters.frames_received, counters.frames_dropped, counters.frames_rejected
        return [
            (to_ns(a.observation_stamp), a.step, a.instruction, tuple(a.token_ids),
             np.asarray(a.values, np.float64).tobytes())
            for a in robot.actions
        ], counts


@pytest.mark.parametrize(("compressed", "selector"),
                         [(False, "attention_drift"), (True, "info_entropy")])
def test_same_actions_same_faults(tmp_path: Path, compressed: bool, selector: str) -> None:
    path = recording(tmp_path / "bag", compressed)
    ours, counted = offline(path, selector)
    theirs, counted_live = live(path, selector)
    assert counted == counted_live == (COUNT, 2, 4)
    assert len(ours) == COUNT - 6
    assert ours == theirs


