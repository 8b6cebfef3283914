# SPDX-License-Identifier: Apache-2.0
"""Write pictures as a video that a browser plays: VP9 in MP4, else an animated GIF."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

Picture = NDArray[np.uint8]

# The wheels of OpenCV carry an FFmpeg with libvpx but, for its licence, without x264. Every
# current browser plays VP9 in an MP4 container; MPEG-4 part 2 ("mp4v") would play in none.
_CODEC = "vp09"


def write_video(frames: Iterable[Picture], stem: Path, fps: float = 5.0) -> Path | None:
    """Write ``stem``.mp4, or ``stem``.gif where OpenCV cannot encode; the path written.

    frames: (H, W, 3) uint8 RGB, all of one even size. None where there are no frames. A file of
    an earlier run is replaced, and one in the other format removed.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        return None
    every = list(itertools.chain([first], iterator))
    target, other = stem.with_suffix(".mp4"), stem.with_suffix(".gif")
    if _write_mp4(every, target, fps):
        other.unlink(missing_ok=True)
        return target
    target.unlink(missing_ok=True)
    write_gif(every, other, fps)
    return other


def _write_mp4(frames: list[Picture], path: Path, fps: float) -> bool:
    try:
        import cv2
    except ImportError:
        return False
    height, width = frames[0].shape[:2]
    with _quiet_stderr():
        writer = cv2.VideoWriter(
            str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*_CODEC), fps, (width, height)
        )
        if not writer.isOpened():
            return False
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        reader = cv2.VideoCapture(str(path))
        readable, _ = reader.read()
        reader.release()
    return bool(readable)


def write_gif(frames: list[Picture], path: Path, fps: float = 5.0) -> None:
    """Write ``path``, an animation without end. frames: as for `write_video`, one at least."""
    # By coverage: the median cut leaves no colour to what is small, and makes yellow cubes orange.
    pages = [Image.fromarray(frame).quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1)
             for frame in frames]
    pages[0].save(path, save_all=True, append_images=pages[1:], loop=0,
                  duration=int(1000 / fps), optimize=False)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """OpenCV's FFmpeg writes hints about codec tags straight to file descriptor 2."""
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(sink)
        os.close(saved)
