# SPDX-License-Identifier: Apache-2.0
"""The recording that is measured, and the judgement, without the minutes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vla_infoentropy_ros.bench.replay import _figures, make_bag
from vla_infoentropy_ros.replay.bag_reader import Bag
from vla_infoentropy_ros.replay.types import COMPRESSED_IMAGE


def test_the_recording_is_a_camera_at_its_rate(tmp_path: Path) -> None:
    assert make_bag(tmp_path / "bag", 0.01) == 18
    with Bag(tmp_path / "bag") as bag:
        found = list(bag.messages(bag.topics(COMPRESSED_IMAGE)))
    assert len(found) == 18
    assert np.diff([r.time_ns for r in found]).max() <= 33_333_334
    picture = cv2.imdecode(np.asarray(found[0].message.data), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)


def test_overhead_is_what_is_not_the_policy() -> None:
    summary = {"seconds": {"whole": 105.0, "policy": 100.0}, "images": {"used": 9}, "variants": {}}
    assert _figures(summary, 1)["overhead"] == 0.05
