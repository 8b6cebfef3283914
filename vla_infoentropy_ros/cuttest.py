# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros cuttest``: how much do a checkpoint's image rows depend on one
another and on the words?

A reused key is wrong by as much as its row would have changed with what it sees. How much that
is cannot be told from attention: image rows may give nine tenths of it to one another and hardly
need it. So the connection is cut, and what the action does is looked at. What it costs to keep
keys is measured beside that: pictures that follow one another, a part of the tokens recomputed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.foreign.files import read_bytes
from vla_infoentropy_ros.foreign.pictures import pictures_in, read_header
from vla_infoentropy_ros.foreign.text import MESSAGE, UserError, one_line, printable
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.models.loading import load_asked
from vla_infoentropy_ros.plugins import containing
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selftest import example_instruction, neutral_state
from vla_infoentropy_ros.session import Session, decide_alone

Frames = Sequence[Sequence[NDArray[np.uint8]]]

CUTS = {
    "no text": "image rows see no word",
    "no other image": "each image row sees itself and the words alone",
    "causal": "each image row sees those before it alone",
}
OTHER = "another picture"  # what the rest is measured against
NEXT = "the next picture"  # what keeping keys is measured against
PARTS = (16, 8, 4, 2)  # one token in so many is recomputed
# Of what the next picture does, in the mean: a place to begin. With less, the shipped policies that
# act by flow solve what dense does, in 0 to 15 % more steps (docs/flow.md).
BEARABLE = 0.6
# Of what another picture does. Below it the rows do not see enough of one another for stale ones
# to make fresh ones stale.
LOOSE = 0.02
KEYFRAME = 10
EPISODES = 3  # of smooth colours


@dataclass(frozen=True)
class CutLayout(Layout):
    """A layout in which image rows see less. cut: of `CUTS`."""

    cut: str = ""

    def mask(self, device: torch.device) -> torch.Tensor:
        seen, rows = super().mask(device), self.visual_columns
        if self.cut == "no text":
            seen[rows, self.tail :] = False
        elif self.cut == "no other image":
            seen[rows, rows] &= torch.eye(self.visual, dtype=torch.bool, device=device)
        elif self.cut == "causal":
            seen[rows] &= torch.ones_like(seen).tril()[rows]
        return seen

    def open(self, first: int, length: int) -> bool:
        return False


@dataclass(frozen=True)
class Moved:
    """How far an action moved, largest over a chunk. translation: m. rotation: rad, the norm of
    the difference. gripper: openings."""

    translation: float
    rotation: float
    gripper: float

    @classmethod
    def between(cls, one: NDArray[np.float64], other: NDArray[np.float64]) -> Moved:
        """Two chunks (H, 7)."""
        gap = np.abs(one - other)
        line, turn = (np.linalg.norm(gap[:, part], axis=1)
                      for part in (slice(0, 3), slice(3, 6)))
        return cls(float(line.max()), float(turn.max()), float(gap[:, 6].max()))


@dataclass(frozen=True)
class CutReport:
    """moved: by cut and `OTHER`, one for each frame. tokens: image rows of one of the policy's
    ``views``. kept: of pictures that follow one another, all but the first, by how many of these
    were recomputed: from dense; by 0: dense, from what it does with the picture before. A step's
    noise is the same in all of them."""

    policy: str
    views: int
    tokens: int
    moved: Mapping[str, Sequence[Moved]]
    kept: Mapping[int, Sequence[Moved]]

    def share(self, cut: str) -> float:
        """Of what another picture does to the translation, medians over frames."""
        base = self._median(OTHER, "translation")
        return self._median(cut, "translation") / base if base > 0.0 else 0.0

    def left(self, fresh: int) -> float:
        """How far the action is off with ``fresh`` tokens a view, of what the next picture does;
        means, since a single wrong step decides an episode."""
        return self._mean(fresh) / self._mean(0) if self._mean(0) > 0.0 else 0.0

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{self.policy}: {len(self.moved[OTHER])} frames, {self.views} x {self.tokens} "
                 "image rows", f"  {'cut':<16}{'mm':>9}{'mrad':>9}{'gripper':>9}{'share':>8}"]
        for cut in (*CUTS, OTHER):
            line, turn, grip = (self._median(cut, name)
                                for name in ("translation", "rotation", "gripper"))
            lines.append(f"  {cut:<16}{1e3 * line:>9.3f}{1e3 * turn:>9.3f}{grip:>9.3f}"
                         f"{self.share(cut):>8.1%}")
        lines.append("  recomputed, of pictures that follow one another")
        for fresh in self.kept:
            name = f"{fresh} of {self.tokens}" if fresh else NEXT
            lines.append(f"  {name:<16}{1e3 * self._mean(fresh):>9.3f}{'':>18}"
                         f"{self.left(fresh):>8.1%}")
        return "\n".join([*lines, f"  {self.advice()}"])

    def advice(self) -> str:
        """How many rows to recompute, and how often all of them, to begin with."""
        if 0.0 in (self._median(OTHER, "translation"), self._mean(0)):
            return "another picture does not move the action: nothing can be told"
        enough = [fresh for fresh in self.kept if fresh and self.left(fresh) < BEARABLE]
        if not enough:
            return "recompute everything (dense): half of the tokens do not follow the pictures"
        every = KEYFRAME if max(self.share("no text"), self.share("causal")) >= LOOSE else 0
        return (f"begin with fresh_tokens={min(enough)} and keyframe_every={every}, and compare "
                "with dense before fewer")

    def _mean(self, fresh: int) -> float:
        return float(np.mean([each.translation for each in self.kept[fresh]]))

    def _median(self, cut: str, name: str) -> float:
        return float(np.median([getattr(each, name) for each in self.moved[cut]]))


def run_cuttest(
    policy: PolicyAdapter, frames: Frames, instruction: str = "", episodes: Sequence[Frames] = ()
) -> CutReport:
    """frames: two or more, of one picture (h, w, 3) uint8 RGB per view; each is compared with the
    next as another picture. episodes: of frames that follow one another; (): the former do."""
    if len(frames) < 2:
        raise SettingError(f"{len(frames)} frames: give two or more, to compare the cuts with")
    for told in (frames, *episodes):
        _check_sizes(told)
    words = instruction or example_instruction(policy)
    whole = [_chunk(policy, frame, words, "") for frame in frames]
    moved = {
        cut: [Moved.between(_chunk(policy, frame, words, cut), full)
              for frame, full in zip(frames, whole, strict=True)]
        for cut in CUTS
    }
    moved[OTHER] = [Moved.between(whole[i], whole[i - 1]) for i in range(len(whole))]
    tokens = policy.grid[0] * policy.grid[1]
    return CutReport(f"{policy.name} ({policy.revision})", policy.views, tokens, moved,
                     _kept(policy, episodes or [frames], words, tokens))


def _check_sizes(frames: Frames) -> None:
    """A session keeps nothing from a picture of another size, and nothing that is kept is no
    figure."""
    sizes = {tuple(picture.shape[:2] for picture in frame) for frame in frames}
    if len(sizes) > 1:
        first, second = sorted(sizes)[:2]
        raise SettingError(f"frames of several sizes, {first} and {second}: pictures that follow "
                           "one another are of one; scale them, or take those of one camera")


def _kept(
    policy: PolicyAdapter, episodes: Sequence[Frames], words: str, tokens: int
) -> dict[int, list[Moved]]:
    """What `CutReport.kept` holds, for one token in each of `PARTS`."""
    kept: dict[int, list[Moved]] = {
        fresh: [] for fresh in (*sorted({max(1, tokens // part) for part in PARTS}), 0)
    }
    for frames in episodes:
        dense, before = (_played(policy, shown, words, "dense", SelectionSettings())
                         for shown in (frames, [frames[0], *frames[:-1]]))
        kept[0] += map(Moved.between, dense[1:], before[1:])
        for fresh in filter(None, kept):
            settings = SelectionSettings(fresh_tokens=fresh)
            played = _played(policy, frames, words, "attention_drift", settings)
            kept[fresh] += map(Moved.between, played[1:], dense[1:])
    return kept


def _played(
    policy: PolicyAdapter, frames: Frames, words: str, selector: str, settings: SelectionSettings
) -> list[NDArray[np.float64]]:
    """The chunks (H, 7) of an episode of these frames, the arm standing still."""
    session = Session(policy, build_selector(selector, settings=settings))
    session.set_instruction(words)
    state = neutral_state(policy)
    return [session.step(frame, state=state).action.chunk for frame in frames]


def _chunk(
    policy: PolicyAdapter, frame: Sequence[NDArray[np.uint8]], words: str, cut: str
) -> NDArray[np.float64]:
    """(H, 7) of one dense step, always with the same noise."""

    def arranged(layout: Layout) -> Layout:
        if type(layout) is not Layout:
            raise SettingError(f"{policy.name} arranges its rows by {type(layout).__name__}, its "
                               "own, and what it says of who sees whom cannot be cut")
        sizes = {entry.name: getattr(layout, entry.name) for entry in fields(Layout)}
        return CutLayout(**sizes, cut=cut)

    decided = decide_alone(policy, frame, words, arrange=arranged)
    with containing(policy, "a step"):
        numbers = decided.numbers().tolist()
    return policy.decode_action(numbers).chunk


def synthetic_frames(count: int, views: int, seed: int = 0) -> list[list[NDArray[np.uint8]]]:
    """Smooth colours, where there are no pictures of the robot's own."""
    rng = np.random.default_rng(seed)

    def picture() -> NDArray[np.uint8]:
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (224, 224), interpolation=cv2.INTER_CUBIC)
        return np.asarray(smooth, dtype=np.uint8)

    return [[picture() for _ in range(views)] for _ in range(count)]


def moving_frames(count: int, views: int, seed: int = 0) -> list[list[NDArray[np.uint8]]]:
    """The same, a patch of other colours moving over each picture from frame to frame."""
    grounds, things = synthetic_frames(2, views, seed)
    rng, edge = np.random.default_rng(seed), 48
    begins, steps = rng.integers(20, 100, (views, 2)), rng.integers(4, 9, (views, 2))

    def picture(view: int, index: int) -> NDArray[np.uint8]:
        moved = grounds[view].copy()
        row, column = (begins[view] + index * steps[view]) % (moved.shape[0] - edge)
        moved[row : row + edge, column : column + edge] = things[view][:edge, :edge]
        return moved

    return [[picture(view, index) for view in range(views)] for index in range(count)]


def frames_from(folder: Path, count: int, views: int) -> list[list[NDArray[np.uint8]]]:
    """The first pictures of a folder by name, as many as there are views to a frame."""
    if not folder.is_dir():
        raise SettingError(f"--pictures {folder} is no folder: give the one that holds them")
    paths = pictures_in(folder)
    wanted = paths[: count * views]
    if len(wanted) < 2 * views or len(wanted) % views:
        raise SettingError(
            f"--pictures {folder} holds {len(paths)} png or jpg files, must be {2 * views} or "
            f"more: {views} to a frame, in the order of the policy's cameras"
        )
    rgb = [_picture(path) for path in wanted]
    return [rgb[i : i + views] for i in range(0, len(rgb), views)]


def _picture(path: Path) -> NDArray[np.uint8]:
    data = read_bytes(path, "picture_packed_bytes", SettingError)
    try:
        read_header(data, SettingError)
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (SettingError, cv2.error) as error:
        raise SettingError(
            f"{path}: {one_line(error)}; remove it from --pictures, or mend it"
        ) from error
    if picture is None:
        raise SettingError(f"{path} is cut off or damaged; remove it from --pictures")
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 with a sentence where the policy or the pictures cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros cuttest", description=__doc__.partition("\n\n")[2]
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR",
                        help="png or jpg files of the robot's cameras, as they follow one another; "
                        "default: smooth colours")
    parser.add_argument("--frames", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--instruction", default="", help="words that the policy knows")
    add_load_arguments(parser)
    args = parser.parse_args(argv)
    try:
        policy = load_asked(args)
        frames = (frames_from(args.pictures, args.frames, policy.views) if args.pictures
                  else synthetic_frames(args.frames, policy.views))
        episodes = [] if args.pictures else [
            moving_frames(args.frames, policy.views, seed) for seed in range(EPISODES)
        ]
        print(run_cuttest(policy, frames, args.instruction, episodes).table())
    except (UserError, OSError) as error:
        print(f"error: {printable(error, MESSAGE)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
