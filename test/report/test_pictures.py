# SPDX-License-Identifier: Apache-2.0
"""Overlays, video and page: what they must show, and what they refuse."""

from __future__ import annotations

import dataclasses
import html.parser
import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from test.report import synthetic
from test.trees import SOURCE
from vla_infoentropy_ros import video
from vla_infoentropy_ros.report import canvas, charts
from vla_infoentropy_ros.report.method_figures import OF
from vla_infoentropy_ros.report.overlay import OverlayError, recompute_map, share_bar, token_overlay
from vla_infoentropy_ros.report.page import report_page
from vla_infoentropy_ros.report.palette import CATEGORIES, categorise, category_counts
from vla_infoentropy_ros.report.statistics import summarise
from vla_infoentropy_ros.selection import reasons as bits


def test_every_bit_has_a_category() -> None:
    masks = np.array([0, bits.IMAGE_ENTROPY, bits.ATTENTION, bits.IMAGE_ENTROPY | bits.ATTENTION,
                      bits.STALE, bits.STALE | bits.IMAGE_ENTROPY, bits.REFRESH, bits.TOP_UP,
                      bits.AGE, bits.CONTROL, bits.PRUNED], dtype=np.uint8)
    keys = [CATEGORIES[i].key for i in categorise(masks)]
    assert keys == ["reused", "entropy", "attention", "both", "stale", "entropy", "refresh",
                    "top_up", "age", "control", "pruned"]
    assert sum(category_counts(masks)) == masks.size


def test_overlay_greys_the_reused_and_frames_the_fresh() -> None:
    image = np.full((224, 224, 3), (200, 40, 40), dtype=np.uint8)
    reasons = np.zeros(256, dtype=np.uint8)
    reasons[0] = bits.STALE
    picture = token_overlay(image, reasons, (16, 16), 320)
    assert picture.shape == (320, 320, 3)
    reused = picture[100, 100].astype(int)
    assert np.ptp(reused) == 0, "a reused patch has no colour"
    stale = next(c for c in CATEGORIES if c.key == "stale")
    assert tuple(picture[0, 0]) == stale.colour
    assert np.ptp(picture[10, 10].astype(int)) > 60, "a fresh patch keeps its colour"


def test_cells_are_framed_by_their_own_reason_where_they_do_not_divide_the_picture() -> None:
    reasons = np.zeros((24, 24), dtype=np.uint8)
    reasons[:, ::2] = bits.STALE
    picture = token_overlay(np.zeros((224, 224, 3), np.uint8), reasons.ravel(), (24, 24), 320)
    stale = next(c for c in CATEGORIES if c.key == "stale").colour
    edges = np.linspace(0, 320, 25).round().astype(int)
    framed = [tuple(picture[5, left + 1]) == stale for left in edges[:-1]]
    assert framed == [True, False] * 12


def test_every_outcome_is_seen_of_however_many_seeds() -> None:
    for count in (3, 60, 500):
        page = charts.outcome_grid({"dense": {seed: (True, "") for seed in range(count)}})
        sides = [float(side) for side in re.findall(r'<rect [^>]*width="([-.0-9]+)"', page)]
        places = [float(x) for x in re.findall(r'<rect x="([-.0-9]+)"', page)]
        assert len(sides) == count and min(sides) > 0
        assert all(b - a > side - 0.1 for (a, b), side in zip(
            itertools.pairwise(places), sides[1:], strict=True)), "none hides the next"


@pytest.mark.parametrize(
    ("image", "count"),
    [(np.zeros((224, 224, 3), np.uint8), 255), (np.zeros((224, 224), np.uint8), 256),
     (np.zeros((224, 224, 3), np.float32), 256)],
)
def test_overlay_refuses_what_does_not_fit(image: np.ndarray, count: int) -> None:
    with pytest.raises(OverlayError):
        token_overlay(image, np.zeros(count, np.uint8), (16, 16))


def test_recompute_map_spans_dark_to_bright() -> None:
    share = np.linspace(0, 1, 256)
    picture = recompute_map(np.zeros((224, 224, 3), np.uint8), share, (16, 16), 320)
    assert int(picture[5, 5].sum()) < int(picture[-5, -5].sum())


def test_the_bar_shows_the_colours_of_the_map() -> None:
    share = np.linspace(0, 1, 256)
    picture = recompute_map(np.zeros((224, 224, 3), np.uint8), share, (16, 16), 320)
    bar = share_bar(256)
    assert bar.shape == (14, 256, 3)
    for at, pixel in ((0, picture[5, 5]), (255, picture[-5, -5])):
        np.testing.assert_allclose(pixel, bar[0, at] * 0.62, atol=1.5)


def test_no_time_is_shown_where_none_was_measured() -> None:
    """And where no selection arrived the camera alone."""
    shown = synthetic.run(3).shown[0]
    steps = tuple(dataclasses.replace(step, record=dataclasses.replace(
        step.record, latency_ms=float("nan"))) for step in shown.steps)
    timed = next(canvas.overlay_frames([shown])).astype(int)
    untimed = next(canvas.overlay_frames([dataclasses.replace(shown, steps=steps)])).astype(int)
    changed = np.argwhere((timed != untimed).any(-1))
    assert len(changed) and changed[:, 0].min() > 500, "under the picture, and nothing else"
    plain = tuple(dataclasses.replace(step, record=dataclasses.replace(
        step.record, latency_ms=float("nan"), reasons=np.zeros(0, np.uint8), fresh=0, reused=0,
        pruned=0)) for step in shown.steps)
    camera = next(canvas.overlay_frames([dataclasses.replace(shown, steps=plain)]))
    assert not (camera[520:600] > 200).any(), "no words under it"


def test_a_reason_of_a_single_token_is_drawn_too() -> None:
    shown = synthetic.run(3).shown[0]
    reasons = np.full(256, bits.REUSED, np.uint8)
    reasons[:3] = bits.AGE, bits.STALE, bits.TOP_UP
    one = dataclasses.replace(shown.steps[0].record, reasons=reasons, fresh=3, reused=253)
    steps = (dataclasses.replace(shown.steps[0], record=one), *shown.steps[1:])
    picture = next(canvas.overlay_frames([dataclasses.replace(shown, steps=steps)]))
    assert picture.shape == (canvas.HEIGHT, canvas.WIDTH, 3)


def test_the_clip_of_the_readme_plays_and_is_small() -> None:
    path = Path(__file__).parents[2] / "docs" / "figures" / "episode.gif"
    assert path.stat().st_size < 2e6
    with Image.open(path) as clip:
        assert getattr(clip, "n_frames", 1) > 10 and clip.info["loop"] == 0


def test_video_frames_end_with_the_outcome() -> None:
    frames = list(canvas.overlay_frames(synthetic.run(3).shown))
    longest = max(len(shown.steps) for shown in synthetic.run(3).shown)
    assert len(frames) > longest
    assert all(frame.shape == (canvas.HEIGHT, canvas.WIDTH, 3) for frame in frames)
    assert list(canvas.overlay_frames(())) == []


def test_video_plays(tmp_path: Path) -> None:
    frames = list(canvas.overlay_frames(synthetic.run(3).shown))[:6]
    path = video.write_video(frames, tmp_path / "overlay")
    assert path is not None
    reader = cv2.VideoCapture(str(path))
    good, picture = reader.read()
    assert good
    assert picture.shape == frames[0].shape
    assert np.abs(picture[..., ::-1].astype(int) - frames[0].astype(int)).mean() < 6


def test_gif_where_nothing_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_write_mp4", lambda *_: False)
    frames = list(canvas.overlay_frames(synthetic.run(3).shown))[:3]
    path = video.write_video(frames, tmp_path / "overlay")
    assert path is not None
    assert path.read_bytes().startswith(b"GIF89a")
    assert not (tmp_path / "overlay.mp4").exists()
    assert video.write_video([], tmp_path / "none") is None


def test_a_gif_keeps_the_colour_of_what_is_small(tmp_path: Path) -> None:
    """A yellow cube on a table of many greys, beside a large orange plate."""
    rng = np.random.default_rng(0)
    grey = rng.integers(60, 200, (90, 160, 1)) + rng.integers(-8, 8, (90, 160, 3))
    frame = grey.astype(np.uint8)
    frame[:40, :60] = np.array([255, 130, 10]) - rng.integers(0, 60, (40, 60, 1))
    frame[60:66, 100:106] = [255, 221, 0]
    video.write_gif([frame], tmp_path / "cube.gif")
    with Image.open(tmp_path / "cube.gif") as picture:
        seen = np.asarray(picture.convert("RGB"))[60:66, 100:106]
    assert np.abs(seen.astype(int) - [255, 221, 0]).max() < 24


@pytest.mark.parametrize("name", ["signals", "plans", "schedules"])
def test_pictures_of_the_documentation_are_of_the_defaults(name: str) -> None:
    with Image.open(SOURCE / "docs" / "figures" / f"{name}.png") as picture:
        assert picture.info["Description"] == OF, "renew them: report/method_figures.py"


class _Page(html.parser.HTMLParser):
    """Collects what a browser would fetch, and checks that tags are closed."""

    _VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def test_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    run = synthetic.run(4)
    movie = tmp_path / "overlay.gif"
    movie.write_bytes(b"GIF89a")
    page = _Page()
    text = report_page(run, summarise(run), movie, "python -m something")
    page.feed(text)
    assert page.open == []
    assert page.fetched
    assert all(source.startswith("data:") for source in page.fetched)
    assert "interval, here from 4 of each" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_page_escapes_the_instruction() -> None:
    run = synthetic.run(2)
    bad = tuple(dataclasses.replace(e, instruction="<script>x</script>", success=False)
                for e in run.episodes)
    run = dataclasses.replace(run, episodes=bad)
    assert "<script>" not in report_page(run, summarise(run))


def test_page_of_one_selector_and_no_pictures() -> None:
    run = dataclasses.replace(synthetic.run(1, ("attention_drift",)), shown=())
    assert "No comparison" in report_page(run, summarise(run))
