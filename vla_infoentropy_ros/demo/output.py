# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves behind: summary.json, report.html, overlay video, bag; and the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.demo.launching import NAMESPACE
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.report.canvas import overlay_frames
from vla_infoentropy_ros.report.page import report_page
from vla_infoentropy_ros.report.records import RunRecord
from vla_infoentropy_ros.report.statistics import summarise
from vla_infoentropy_ros.report.verdict import table_rows, verdicts
from vla_infoentropy_ros.video import write_video

_RECORDED = "attention_drift"


def write_outputs(
    folder: Path, run: RunRecord, recorded: Mapping[str, Sequence[RawMessage]]
) -> dict[str, Any]:
    """Write everything into ``folder``, which `claim_folder` has prepared; return the summary.

    The bag holds one episode of our own selector, or of the last one that ran; the video shows
    the first three.
    """
    summary = summarise(run)
    chosen = _RECORDED if _RECORDED in run.selectors else run.selectors[-1]
    bag = None
    if recorded.get(chosen):
        about = {"selector": chosen, "seed": str(run.seeds[0])} | dict(run.policy)
        bag = write_bag(folder / "bag", recorded[chosen], about=about)
    video = write_video(overlay_frames(run.shown), folder / "overlay")
    summary["files"] = {
        "report": "report.html",
        "overlay": video.name if video else None,
        "bag": bag.name if bag else None,
        "bag_selector": chosen if bag else None,
        "log": "nodes.log",
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    (folder / "summary.json").write_text(text, encoding="utf-8")
    page = report_page(run, summary, video, _next_steps(folder, chosen))
    (folder / "report.html").write_text(page, encoding="utf-8")
    return summary


def print_table(summary: Mapping[str, Any]) -> None:
    """The comparison, for a terminal of 100 columns."""
    header, rows = table_rows(summary)
    widths = [max(len(row[i]) for row in [list(header), *rows]) for i in range(len(header))]
    for row in [list(header), *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
    print()
    for name, text in verdicts(summary).items():
        print(f"{name}: {text}")


def print_files(folder: Path, summary: Mapping[str, Any]) -> None:
    """Where to look, and what to try next."""
    files = summary["files"]
    print()
    for key in ("report", "overlay", "bag"):
        if files[key]:
            print(f"{key:8} {folder / files[key]}")
    print(f"figures  {folder / 'summary.json'}")


def _next_steps(folder: Path, selector: str) -> str:
    return (
        "# the recorded episode once more, offline, against dense\n"
        f"python -m vla_infoentropy_ros replay {folder / 'bag'} --selector {selector} "
        "--compare dense\n\n"
        "# with ROS 2: what is in the bag, and the bag as a camera\n"
        f"ros2 bag info {folder / 'bag'}\n"
        f"ros2 launch vla_infoentropy_ros bag.launch.xml bag:={folder / 'bag'} \\\n"
        f"    image:=/{NAMESPACE}/image instruction_topic:=/{NAMESPACE}/instruction\n\n"
        "# more episodes, narrower intervals\n"
        "make demo EPISODES=100"
    )
