# SPDX-License-Identifier: Apache-2.0
"""Pictures and labels on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from vla_infoentropy_ros.libero.collect import Collecting
from vla_infoentropy_ros.libero.shards import SIDE, Shard, compress, decompress
from vla_infoentropy_ros.libero.suites import STEP_LIMITS, SuiteError, load_suite


def test_a_picture_comes_back_as_the_policy_would_see_it() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    back = decompress(np.frombuffer(compress(picture), np.uint8))
    seen = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.array_equal(back, seen)


def test_a_damaged_picture_is_named() -> None:
    with pytest.raises(ValueError, match="no PNG"):
        decompress(np.zeros(10, np.uint8))


def test_a_shard_is_whole_or_absent(tmp_path: Path) -> None:
    shard = Shard(["pick it up"], ["it_1"], np.array([[0, 0]]))
    picture = np.zeros((256, 256, 3), np.uint8)
    for count in range(3):
        shard.pictures.append(compress(picture + count))
        shard.labels.append(np.full((1, 7), count))
        shard.points.append(np.zeros((2, 3)))
        shard.pixels.append(np.zeros((2, 2)))
        shard.held.append(np.array([False]))
    shard.write(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    stored = np.load(tmp_path / "a.npz")
    last = stored["pictures"][stored["ends"][1] :]
    assert (decompress(last) == 2).all() and stored["labels"].shape == (3, 1, 7)


@pytest.mark.parametrize(("values", "says"), [({"frames": 0}, "frames = 0"),
                                              ({"near": 1.5}, "near = 1.5")])
def test_shares_are_shares(values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Collecting(**values)


def test_a_suite_that_cannot_be_played_is_named() -> None:
    with pytest.raises(SuiteError, match=r"libero_10.*libero_spatial, libero_object"):
        load_suite("libero_10")
    for name in STEP_LIMITS:
        try:
            import libero  # noqa: F401
        except ImportError:
            with pytest.raises(SuiteError, match="not installed here"):
                load_suite(name)


def test_a_benchmark_without_its_assets_is_told_before_it_is_played(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(what: str) -> str:
        raise ImportError(f"no {what}")

    package: Any = ModuleType("libero.libero")
    package.benchmark, package.get_libero_path = ModuleType("benchmark"), missing
    monkeypatch.setitem(sys.modules, "libero", ModuleType("libero"))
    monkeypatch.setitem(sys.modules, "libero.libero", package)
    with pytest.raises(SuiteError, match=r"in part \(no assets\); make an environment"):
        load_suite("libero_object")
