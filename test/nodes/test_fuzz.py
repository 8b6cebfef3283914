# SPDX-License-Identifier: Apache-2.0
"""Ten thousand images that no one may use, each of which arrives: the node counts every one, acts
on none, keeps no memory of them, and works on."""

import gc
import os
import random
import time
from array import array
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from test.nodes.harness import HELD, PATIENCE_S, WORDS, driven, until
from vla_infoentropy_ros.nodes.messages import to_ns, to_time
from vla_infoentropy_ros.nodes.qos import NEWEST

pytestmark = pytest.mark.usefixtures("ros")

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
# Others that are taken, of those below: bytes per pixel of a row, rows per row of the picture, and
# which sides must be even.
SHARED = {"yuv422": (2, 1.0, "width"), "yuv422_yuy2": (2, 1.0, "width"),
          "bayer_rggb8": (1, 1.0, "both"), "nv12": (1, 1.5, "both"), "nv21": (1, 1.5, "both")}
LONGEST_SIDE = 8192
SECOND = 1_000_000_000
LARGEST = 2**32 - 1
ENCODINGS = [
    *("", "RGB8", "rgb8 ", " rgb8", "rgb8\n", "rgb", "rgb16", "bgr16", "rgba16", "mono16"),
    *("8UC1", "8UC3", "16UC1", "32FC1", "64FC4", "bayer_rggb8", "bayer_gbrg16", "yuv422", "nv12"),
    *("yuv422_yuy2", "nv21", "jpeg", "rgb8; jpeg compressed bgr8", "ｒｇｂ8", "🤖", "x" * 3000),
]


def verdict(message: Image, now_ns: int, newest_ns: int) -> str:
    """usable, or what must become of the image: rejected | dropped. By docs/ros.md, not by the
    node."""
    stamp_ns = to_ns(message.header.stamp)
    plain = CHANNELS.get(message.encoding, 0), 1.0, ""
    channels, rows, even = SHARED.get(message.encoding, plain)
    sound = (
        channels
        and not (even and message.width % 2)
        and not (even == "both" and message.height % 2)
        and len(message.header.frame_id) <= 256
        and 0 < message.width <= LONGEST_SIDE
        and 0 < message.height <= LONGEST_SIDE
        and message.step >= message.width * channels
        and len(message.data) == message.step * int(message.height * rows)
        and 0 < stamp_ns < now_ns + SECOND // 2
    )
    if not sound:
        return "rejected"
    return "dropped" if stamp_ns <= newest_ns else "usable"


class Fuzzer:
    """Sound images with one to three things spoilt, the same ones for the same seed.

    newest_ns: stamp of the last image that was used.
    """

    def __init__(self, seed: int, newest_ns: int) -> None:
        self._random = random.Random(seed)
        self._newest_ns = newest_ns
        self._spoilers = (
            self._encoding,
            self._data,
            self._step,
            self._width,
            self._height,
            self._stamp,
        )

    def image(self, now_ns: int) -> tuple[Image, str]:
        """An image and what must become of it."""
        pick = self._random
        while True:
            message = self._sound(now_ns)
            for spoil in pick.sample(self._spoilers, pick.choice((1, 1, 2, 3))):
                spoil(message)
            if pick.random() < 0.02:
                message.header.frame_id = "f" * pick.choice((256, 65_536, 1_000_000))
            what = verdict(message, now_ns, self._newest_ns)
            if what != "usable":  # two wrongs may make a right
                return message, what

    def _sound(self, now_ns: int) -> Image:
        pick = self._random
        encoding = pick.choice([*CHANNELS])
        width, height = pick.randint(1, 24), pick.randint(1, 24)
        step = width * CHANNELS[encoding] + pick.choice((0, 0, 5))
        return Image(
            header=Header(stamp=to_time(now_ns), frame_id="camera"),
            width=width,
            height=height,
            encoding=encoding,
            is_bigendian=pick.choice((0, 1, 255)),
            step=step,
            data=array("B", pick.randbytes(step * height)),
        )

    def _encoding(self, message: Image) -> None:
        other = "".join(self._random.choices("rgbamono8163 UFC_", k=self._random.randint(1, 40)))
        message.encoding = self._random.choice([*ENCODINGS, *CHANNELS, other])

    def _data(self, message: Image) -> None:
        pick, count = self._random, len(message.data)
        count = pick.choice((0, 1, count - 1, count + 1, pick.randint(0, 3000), 200_000))
        message.data = array("B", pick.randbytes(count))

    def _step(self, message: Image) -> None:
        message.step = self._number(message.step)

    def _width(self, message: Image) -> None:
        message.width = self._number(message.width)

    def _height(self, message: Image) -> None:
        message.height = self._number(message.height)

    def _number(self, value: int) -> int:
        pick = self._random
        return pick.choice(
            (0, 1, value - 1, value + 1, LONGEST_SIDE + 1, 2**31, LARGEST, pick.randint(0, LARGEST))
        )

    def _stamp(self, message: Image) -> None:
        pick, now = self._random, message.header.stamp
        now_ns = to_ns(now)
        now.sec, now.nanosec = pick.choice(
            (
                (0, 0),
                (-1, LARGEST),
                (-(2**31), 0),
                (2**31 - 1, LARGEST),
                divmod(now_ns + 10 * SECOND, SECOND),
                divmod(self._newest_ns, SECOND),
                divmod(self._newest_ns - pick.randint(1, SECOND), SECOND),
                (0, 1),
            )
        )


def memory() -> int:
    """Bytes that the process has in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def deliver(publisher, message, arrived):
    """Publish, and wait until it was taken: no newer one may take its place before."""
    publisher.publish(message)
    give_up_s = time.monotonic() + PATIENCE_S
    while not arrived():
        assert time.monotonic() < give_up_s, "the image does not arrive"
        time.sleep(0.0001)


def test_ten_thousand_malformed_images():
    with driven(**HELD) as (robot, node, _):
        robot.drive()
        fuzzer = Fuzzer(7, to_ns(robot.actions[-1].observation_stamp))
        counters, expected, told = node.driver.intake.counters, Counter(), set()
        received = counters.frames_received
        assert robot.set(node, command__camera_timeout_s=1.0).successful
        for count in range(1, 10_001):
            message, what = fuzzer.image(robot.now_ns())
            expected[what] += 1
            deliver(robot.camera, message, lambda n=count: counters.frames_received == received + n)
            told.add(robot.told("camera"))
            if count == 3000:
                before, files = memory(), len(os.listdir("/proc/self/fd"))
        handled = expected["dropped"] + expected["rejected"]
        until(lambda: counters.frames_dropped + counters.frames_rejected >= handled,
              "not all are counted")
        assert counters.frames_dropped == expected["dropped"]
        assert counters.frames_rejected == expected["rejected"]
        assert expected.total() == 10_000 and min(expected.values()) > 100
        assert any("images rejected" in text for text in told)
        robot.faults("camera_frozen")
        assert len(robot.actions) == node.driver.commander.counters.actions_issued == 1
        assert node.driver.commander.counters.actions_dropped == 0
        assert len(os.listdir("/proc/self/fd")) == files
        assert memory() - before < 10_000_000
        assert robot.set(node, command__camera_timeout_s=20.0).successful
        robot.moves_only_when_told()


def test_good_images_among_malformed_ones_are_used_and_no_others():
    with driven() as (robot, node, _):
        robot.drive()
        counters = node.driver.intake.counters
        stamps = [to_ns(robot.actions[-1].observation_stamp)]
        for seed in range(10):
            fuzzer = Fuzzer(seed, stamps[-1])
            for _ in range(30):
                count = counters.frames_received + 1
                message, _ = fuzzer.image(robot.now_ns())
                deliver(robot.camera, message, lambda n=count: counters.frames_received == n)
            stamps.append(to_ns(robot.act().observation_stamp))
        assert [to_ns(action.observation_stamp) for action in robot.actions] == stamps
        assert [action.step for action in robot.actions] == list(range(11))
        assert counters.frames_rejected + counters.frames_dropped == 300


def compressed(pick: random.Random, now_ns: int) -> CompressedImage:
    """No picture, or one that says that it is something else."""
    picture = np.frombuffer(pick.randbytes(24 * 24 * 3), np.uint8).reshape(24, 24, 3)
    sound = cv2.imencode(pick.choice((".jpg", ".png")), picture)[1].tobytes()
    while True:
        kind = pick.choice(("jpeg", "png", "rgb8; jpeg compressed bgr8", "", "bmp", "x" * 3000))
        data = pick.choice(
            (
                b"",
                sound,
                sound[: pick.randint(1, 200)],
                sound[:20] + pick.randbytes(len(sound) - 20),
                pick.randbytes(pick.randint(1, 3000)),
            )
        )
        known = "jpeg" in kind or "png" in kind
        if not (known and data and cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None):
            header = Header(stamp=to_time(now_ns), frame_id="f" * pick.choice((0, 6, 100_000)))
            return CompressedImage(header=header, format=kind, data=array("B", data))


def test_a_thousand_malformed_compressed_images():
    with driven(image_transport="compressed") as (robot, node, _):
        camera = robot.create_publisher(CompressedImage, "image/compressed", NEWEST)
        until(camera.get_subscription_count, "no one takes compressed images")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        counters, pick = node.driver.intake.counters, random.Random(7)
        for count in range(1, 1001):
            message = compressed(pick, robot.now_ns())
            deliver(camera, message, lambda n=count: counters.frames_rejected == n)
        assert counters.frames_received == 1000 and counters.frames_dropped == 0
        assert not robot.actions and not any(entry.kind == "sent" for entry in node.tape.entries)
        data = cv2.imencode(".png", np.full((24, 24, 3), 80, np.uint8))[1].tobytes()
        header = Header(stamp=to_time(robot.now_ns()))
        camera.publish(CompressedImage(header=header, format="png", data=array("B", data)))
        until(lambda: any(map(np.any, robot.twists)), "the good image was not used")
