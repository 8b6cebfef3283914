# SPDX-License-Identifier: Apache-2.0
"""Cutting what image rows see: in the mask, in the action, and from the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from test.models.tiny_flow import tiny_flow_policy
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.cuttest import (
    CUTS,
    OTHER,
    CutLayout,
    CutReport,
    Moved,
    frames_from,
    main,
    moving_frames,
    run_cuttest,
    synthetic_frames,
)
from vla_infoentropy_ros.knobs import SettingError


@pytest.mark.parametrize(("cut", "seen"), [
    ("", [1, 1, 1, 1, 1, 0]), ("no text", [1, 1, 1, 0, 0, 0]),
    ("no other image", [1, 0, 1, 1, 1, 0]), ("causal", [1, 1, 1, 0, 0, 0]),
])
def test_a_cut_takes_columns_from_image_rows_alone(cut: str, seen: list[int]) -> None:
    """BOS, two image rows, two words, an action: what the second image row sees."""
    layout = CutLayout(2, 2, 1, together=True, cut=cut)
    mask, whole = (each.mask(torch.device("cpu"))
                   for each in (layout, CutLayout(2, 2, 1, together=True)))
    assert mask[2].int().tolist() == seen
    assert torch.equal(mask[[0, 3, 4, 5]], whole[[0, 3, 4, 5]])
    first = mask[1].int().tolist()
    assert first[2] == (cut in ("", "no text")) and not layout.open(0, 3)


def test_a_policy_whose_rows_see_words_is_told_from_a_causal_one() -> None:
    flow = run_cuttest(tiny_flow_policy(), synthetic_frames(3, 1), "put red")
    assert flow.share("no text") > 0.001 and flow.share("causal") > 0.001
    causal = run_cuttest(TinyPolicy(), synthetic_frames(3, 1), "pick up")
    assert causal.share("no text") == causal.share("causal") == 0.0
    assert all(len(moved) == 3 for moved in causal.moved.values())
    again = run_cuttest(tiny_flow_policy(), synthetic_frames(3, 1), "put red")
    assert again.moved == flow.moved


@pytest.mark.parametrize(("text", "kept", "advice"), [
    (0.0, (0.7, 0.4, 0.1), "fresh_tokens=32 and keyframe_every=0"),
    (0.01, (0.4, 0.2, 0.1), "fresh_tokens=16 and keyframe_every=0"),
    (0.8, (0.9, 0.7, 0.4), "fresh_tokens=128 and keyframe_every=10"),
    (0.8, (0.9, 0.8, 0.6), "recompute everything"),
])
def test_the_further_kept_keys_move_the_action_the_more_is_recomputed(
    text: float, kept: tuple[float, ...], advice: str
) -> None:
    def moved(share: float) -> list[Moved]:
        return [Moved(0.01 * share, 0.0, 0.0), Moved(0.03 * share, 0.0, 0.0)]

    cuts = {cut: moved(text) for cut in CUTS} | {OTHER: moved(1.0)}
    by_tokens = dict(zip((16, 32, 128, 0), map(moved, (*kept, 1.0)), strict=True))
    report = CutReport("policy", 2, 256, cuts, by_tokens)
    assert advice in report.advice() and f"{text:.1%}" in report.table()
    assert report.left(32) == pytest.approx(kept[1])
    for still in ({"moved": {cut: moved(0.0) for cut in cuts}},
                  {"kept": by_tokens | {0: moved(0.0)}}):
        assert "nothing can be told" in replace(report, **still).advice()


def test_keys_are_kept_over_pictures_that_follow_one_another() -> None:
    """Half of the tokens of a policy of one view; of each view where there are two."""
    policy, frames = tiny_flow_policy(), moving_frames(4, 1)
    report = run_cuttest(policy, synthetic_frames(2, 1), "put red", [frames])
    assert list(report.kept) == [1, 2, 4, 8, 0] and report.views == 1
    assert all(len(moved) == 3 for moved in report.kept.values())
    assert 0.0 < report.left(8) < report.left(1)
    still = run_cuttest(policy, synthetic_frames(2, 1), "put red", [[frames[0]] * 3])
    assert all(each.translation < 1e-6 for moved in still.kept.values() for each in moved)


def test_pictures_from_a_folder_in_order_and_in_colour(tmp_path: Path) -> None:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((4, 4, 3), (0, 0, index), np.uint8))
    frames = frames_from(tmp_path, 8, 2)
    assert [[picture[0, 0, 0] for picture in frame] for frame in frames] == [[0, 1], [2, 3]]
    with pytest.raises(SettingError, match="must be 6 or more: 3 to a frame"):
        frames_from(tmp_path, 8, 3)
    (tmp_path / "3.png").rename(tmp_path / "10.PNG")
    (tmp_path / "2.png").rename(tmp_path / "9.png")
    frames = frames_from(tmp_path, 8, 2)
    assert [[picture[0, 0, 0] for picture in frame] for frame in frames] == [[0, 1], [2, 3]]
    (tmp_path / "11.png").write_bytes((tmp_path / "9.png").read_bytes())
    with pytest.raises(SettingError, match="holds 5 png or jpg files, must be 4 or more: 2 to a"):
        frames_from(tmp_path, 8, 2)
    assert len(frames_from(tmp_path, 2, 2)) == 2, "the first four are two whole frames"
    (tmp_path / "0.png").write_text("no picture")
    with pytest.raises(SettingError, match=r"0\.png: the data are neither jpeg nor png; remove"):
        frames_from(tmp_path, 8, 1)
    (tmp_path / "0.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    with pytest.raises(SettingError, match=r"0\.png"):
        frames_from(tmp_path, 8, 1)


def test_pictures_of_several_sizes_would_be_kept_by_nobody() -> None:
    frames = [[picture[: 200 + index]] for index, [picture] in enumerate(synthetic_frames(3, 1))]
    with pytest.raises(SettingError, match=r"several sizes, \(\(200, 224\),\) and"):
        run_cuttest(TinyPolicy(), synthetic_frames(2, 1), "pick up", [frames])


def test_the_command_tells_in_a_sentence_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert main(["--pictures", str(tmp_path / "none")]) == 1
    assert "none is no folder: give the one that holds them" in capsys.readouterr().err
    with pytest.raises(SettingError, match="two or more"):
        run_cuttest(TinyPolicy(), synthetic_frames(1, 1), "pick up")
