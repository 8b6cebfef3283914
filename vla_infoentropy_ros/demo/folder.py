# SPDX-License-Identifier: Apache-2.0
"""The demo's own folder: marked by it, and emptied of nothing but what an earlier demo made."""

from __future__ import annotations

from pathlib import Path

from vla_infoentropy_ros.foreign.text import UserError, shown
from vla_infoentropy_ros.replay.bag_writer import remove_bag

MARK = ".vla_infoentropy_demo"
MADE = ("summary.json", "report.html", "overlay.mp4", "overlay.gif", "nodes.log")
"""Files that a demo leaves; the folder ``bag`` besides."""
_MARK_TEXT = "The demo made this folder and replaces its results here when it runs again.\n"


class FolderError(UserError, ValueError):
    """A folder that is not the demo's to write to."""


def claim_folder(folder: Path) -> None:
    """Make ``folder`` the demo's, without results: after a failure none of an earlier run may pass
    for those of this one.

    Raises FolderError for a folder that holds anything and was not made by a demo, BagError where
    something that is no bag stands in the bag's place, OSError where it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if mark.is_symlink() or not mark.is_file():
        foreign = sorted(path.name for path in folder.iterdir())
        if foreign:
            raise FolderError(
                f"{shown(str(folder))} holds {shown(foreign[0])} and was not made by the demo, "
                "which would replace what is in it; name a new folder with --out, or empty that one"
            )
        mark.write_text(_MARK_TEXT, encoding="utf-8")
    remove_bag(folder / "bag")
    for name in MADE:
        (folder / name).unlink(missing_ok=True)  # of a symbolic link, the link
