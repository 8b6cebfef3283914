# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros cuttest``: how much do a checkpoint's image rows depend on one
another and on the words?

A reused key is wrong by as much as its row would have changed with what it sees. How much that
is cannot be told from attention: image rows may give nine tenths of it to one another and hardly
need it. So the connection is cut, and what the action does is looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.heads import Turn
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.foreign.text import MESSAGE, UserError, printable
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.models.loading import load_asked
from vla_infoentropy_ros.selftest import example_instruction, neutral_state

CUTS = {
    "no text": "image rows see no word",
    "no other image": "each image row sees itself and the words alone",
    "causal": "each image row sees those before it alone",
}
OTHER = "another picture"  # what the rest is measured against
# Of what another picture does. Measured are ends alone: the shipped policy by tokens, at 0 for
# words and 60 % for other image rows, the shipped flow policies, at 72 to 89 %. The bounds between
# are a guess to begin with.
LOOSE, TIGHT = 0.02, 0.1


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
    """moved: by cut and `OTHER`, one for each frame. visual: image rows of the policy."""

    policy: str
    visual: int
    moved: dict[str, list[Moved]]

    def share(self, cut: str) -> float:
        """Of what another picture does to the translation, medians over frames."""
        base = self._median(OTHER, "translation")
        return self._median(cut, "translation") / base if base > 0.0 else 0.0

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{self.policy}: {len(self.moved[OTHER])} frames, {self.visual} image rows",
                 f"  {'cut':<16}{'mm':>9}{'mrad':>9}{'gripper':>9}{'share':>8}"]
        for cut in (*CUTS, OTHER):
            line, turn, grip = (self._median(cut, name)
                                for name in ("translation", "rotation", "gripper"))
            lines.append(f"  {cut:<16}{1e3 * line:>9.3f}{1e3 * turn:>9.3f}{grip:>9.3f}"
                         f"{self.share(cut):>8.1%}")
        return "\n".join([*lines, f"  {self.advice()}"])

    def advice(self) -> str:
        """How many rows to recompute, and how often all of them, to begin with."""
        if self._median(OTHER, "translation") == 0.0:
            return "another picture does not move the action: nothing can be told"
        share = max(self.share("no text"), self.share("causal"))
        alone = self.share("no other image") < TIGHT
        rows = max(1, self.visual // (8 if alone and share < LOOSE else 4))
        every = 0 if share < LOOSE else 8 if share < TIGHT else 4
        return (f"begin with fresh_tokens={rows} and keyframe_every={every}, and compare with "
                "dense before fewer")

    def _median(self, cut: str, name: str) -> float:
        return float(np.median([getattr(each, name) for each in self.moved[cut]]))


def run_cuttest(
    policy: PolicyAdapter, frames: Sequence[Sequence[NDArray[np.uint8]]], instruction: str = ""
) -> CutReport:
    """frames: two or more, of one picture (h, w, 3) uint8 RGB per view; each is compared with the
    next as another picture."""
    if len(frames) < 2:
        raise SettingError(f"{len(frames)} frames: give two or more, to compare the cuts with")
    words = instruction or example_instruction(policy)
    whole = [_chunk(policy, frame, words, "") for frame in frames]
    moved = {
        cut: [Moved.between(_chunk(policy, frame, words, cut), full)
              for frame, full in zip(frames, whole, strict=True)]
        for cut in CUTS
    }
    moved[OTHER] = [Moved.between(whole[i], whole[i - 1]) for i in range(len(whole))]
    visual = policy.views * policy.grid[0] * policy.grid[1]
    return CutReport(f"{policy.name} ({policy.revision})", visual, moved)


@torch.inference_mode()
def _chunk(
    policy: PolicyAdapter, frame: Sequence[NDArray[np.uint8]], words: str, cut: str
) -> NDArray[np.float64]:
    """(H, 7) of one dense step, always with the same noise."""
    backbone, head = policy.backbone, policy.head
    device, taken = backbone.device, policy.proprioception
    text = policy.tokenize(words).token_ids.to(device)
    visual = policy.embed_vision(policy.preprocess(frame).pixels)
    layout = head.layout(visual.shape[0], text.shape[0])
    sizes = {entry.name: getattr(layout, entry.name) for entry in fields(layout)}
    decoder = PartialDecoder(backbone, CutLayout(**sizes, cut=cut), ())
    leading = torch.tensor([policy.bos_token_id] * layout.bos, dtype=torch.int64, device=device)
    embed = backbone.embed_tokens
    state = None if taken is None else taken.normalise(neutral_state(policy)).to(device)
    decided = head.act(
        decoder, torch.cat([embed(leading), visual, embed(text)]),
        TokenPlan.dense(visual.shape[0], device), Turn(0, None, state, Stopwatch(device)),
    )
    numbers = decided.numbers().cpu()
    return policy.decode_action(numbers.tolist()).chunk


def synthetic_frames(count: int, views: int, seed: int = 0) -> list[list[NDArray[np.uint8]]]:
    """Smooth colours, where there are no pictures of the robot's own."""
    rng = np.random.default_rng(seed)

    def picture() -> NDArray[np.uint8]:
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (224, 224), interpolation=cv2.INTER_CUBIC)
        return np.asarray(smooth, dtype=np.uint8)

    return [[picture() for _ in range(views)] for _ in range(count)]


def frames_from(folder: Path, count: int, views: int) -> list[list[NDArray[np.uint8]]]:
    """The first pictures of a folder by name, as many as there are views to a frame."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".png", ".jpg", ".jpeg"))
    wanted = paths[: count * views]
    if len(wanted) < 2 * views:
        raise SettingError(
            f"--pictures {folder} holds {len(paths)} png or jpg files, must be {2 * views} or "
            f"more: {views} to a frame, in the order of the policy's cameras"
        )
    rgb = [_picture(path) for path in wanted]
    return [rgb[i : i + views] for i in range(0, len(rgb) - views + 1, views)]


def _picture(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path))
    if picture is None:
        raise SettingError(f"{path} is no picture; remove it from --pictures")
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 with a sentence where the policy or the pictures cannot be used."""
    parser = argparse.ArgumentParser(prog="cuttest", description=__doc__.partition("\n\n")[2])
    parser.add_argument("--pictures", type=Path, metavar="DIR",
                        help="png or jpg files of the robot's cameras; default: smooth colours")
    parser.add_argument("--frames", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--instruction", default="", help="words that the policy knows")
    add_load_arguments(parser)
    args = parser.parse_args(argv)
    try:
        policy = load_asked(args)
        frames = (frames_from(args.pictures, args.frames, policy.views) if args.pictures
                  else synthetic_frames(args.frames, policy.views))
        print(run_cuttest(policy, frames, args.instruction).table())
    except (UserError, OSError) as error:
        print(f"error: {printable(error, MESSAGE)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
