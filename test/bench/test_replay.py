# SPDX-License-Identifier: Apache-2.0
"""The recording that is measured, and the judgement, without the minutes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vla_infoentropy_ros.bench import replay
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


def test_overhead_is_beyond_the_policy_alone() -> None:
    """By its own clock the policy takes 100 s, but threads beside it slow it down too."""
    summary = {"seconds": {"whole": 105.0, "policy": 100.0}, "images": {"used": 1000},
               "variants": {}}
    figures = _figures(summary, 1, (90.0, 110.0))
    assert (figures["overhead"], figures["outside_steps"]) == (0.05, 0.05)
    assert _figures(summary, 1, (80.0, 80.0))["overhead"] == 0.3125


def test_the_policy_alone_steps_on_the_pictures_of_the_bag(monkeypatch) -> None:
    seen = []

    class Session:
        def set_instruction(self, text: str) -> None:
            assert text == "put the red cube on the white plate"

        def step(self, images: list[np.ndarray]) -> None:
            (image,) = images
            seen.append(image)

    monkeypatch.setattr(replay, "load_policy", lambda *_: None)
    monkeypatch.setattr(replay.Variant, "session", lambda self, policy: Session())
    assert replay.policy_alone_ms("dense", 3) >= 0
    assert len(seen) == 4 and seen[0].shape == (480, 640, 3)
    red = (seen[0][..., 0] > 200) & (seen[0][..., 2] < 60)
    assert red.sum() > 3000, "RGB, as the replay hands it on"
