# SPDX-License-Identifier: Apache-2.0
"""Small LeRobot datasets, written as version 3 lays them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

FPS = 10
VIDEO, IMAGE = "observation.images.top", "observation.images.wrist"


def level(index: int) -> int:
    """Grey value of the frame with this index in the dataset."""
    return 20 + 16 * index


def dataset(path: Path, lengths: Sequence[int] = (4, 6), version: str = "v3.0",
            lost: Sequence[int] = ()) -> Path:
    """Episodes of grey frames; the top camera is a video, the wrist camera pictures in a table.
    lost: which frames of the dataset the video lacks, while the others keep their times."""
    for folder in ("meta/episodes/chunk-000", "data/chunk-000", f"videos/{VIDEO}/chunk-000"):
        (path / folder).mkdir(parents=True)
    kinds = {VIDEO: "video", IMAGE: "image", "action": "float32"}
    features = {name: {"dtype": kind} for name, kind in kinds.items()}
    info = {"codebase_version": version, "fps": FPS, "features": features}
    (path / "meta/info.json").write_text(json.dumps(info))
    begins = np.concatenate([[0], np.cumsum(lengths)])
    rows = [
        {
            "episode_index": number, "length": length, "tasks": [f"do task {number}"],
            "data/chunk_index": 0, "data/file_index": 0,
            f"videos/{VIDEO}/chunk_index": 0, f"videos/{VIDEO}/file_index": 0,
            f"videos/{VIDEO}/from_timestamp": begins[number] / FPS,
        }
        for number, length in enumerate(lengths)
    ]
    parquet.write_table(pa.Table.from_pylist(rows),
                        path / "meta/episodes/chunk-000/file-000.parquet")
    frames = [
        {"episode_index": number, "frame_index": index,
         IMAGE: {"bytes": _png(begins[number] + index)}}
        for number, length in enumerate(lengths) for index in range(length)
    ]
    parquet.write_table(pa.Table.from_pylist(frames), path / "data/chunk-000/file-000.parquet")
    with av.open(str(path / f"videos/{VIDEO}/chunk-000/file-000.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in set(range(begins[-1])) - set(lost):
            picture = np.full((48, 64, 3), level(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rewrite(table: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Another table in its place; change: makes each row of the row that there was."""
    rows = [change(row) for row in parquet.read_table(table).to_pylist()]
    parquet.write_table(pa.Table.from_pylist(rows), table)


def _png(index: int) -> bytes:
    return cv2.imencode(".png", np.full((48, 64, 3), level(index), np.uint8))[1].tobytes()
