# SPDX-License-Identifier: Apache-2.0
"""The demo's own folder."""

from __future__ import annotations

from pathlib import Path

from vla_infoentropy_ros.replay import folder as folders
from vla_infoentropy_ros.replay.folder import FolderError

__all__ = ["MADE", "MARK", "FolderError", "claim_folder", "empty_folder"]

MARK = f"{folders.MARK}demo"
MADE = ("summary.json", "report.html", "overlay.mp4", "overlay.gif")
"""Files that a demo leaves; the folder ``bag`` besides, and the nodes' log, which they begin."""


def claim_folder(folder: Path) -> None:
    """Make ``folder`` the demo's; raises as `replay.folder.claim_folder`."""
    folders.claim_folder(folder, "demo")


def empty_folder(folder: Path) -> None:
    """Without an earlier demo's results; raises as `replay.folder.empty_folder`."""
    folders.empty_folder(folder, MADE)
