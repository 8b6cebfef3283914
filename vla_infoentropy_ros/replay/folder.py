# SPDX-License-Identifier: Apache-2.0
"""Folders of results: marked by whoever made them, emptied of nothing but what they made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.text import UserError, shown
from vla_infoentropy_ros.replay.bag_writer import check_bag, remove_bag

MARK = ".vla_infoentropy_"


class FolderError(UserError, ValueError):
    """A folder that is not ours to write to."""


def claim_folder(folder: Path, maker: str) -> None:
    """Make ``folder`` that of ``maker``, a word such as demo. What it holds stays until
    `empty_folder`: a run that cannot begin takes nothing of an earlier one with it.

    Raises FolderError for a folder that holds anything and was not made by it, BagError where
    something that is no bag stands in the bag's place, OSError where it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{MARK}{maker}"
    if mark.is_symlink() or not mark.is_file():
        foreign = sorted(path.name for path in folder.iterdir())
        if foreign:
            raise FolderError(
                f"{shown(str(folder))} holds {shown(foreign[0])} and was not made by the {maker}, "
                "which would replace what is in it; name a new folder with --out, or empty that one"
            )
        mark.write_text(f"The {maker} made this folder and replaces its results here when it runs "
                        "again.\n", encoding="utf-8")
    check_bag(folder / "bag")


def empty_folder(folder: Path, made: Sequence[str]) -> None:
    """As a run begins: after a failure none of an earlier one's results may pass for its own.

    made: files that runs leave; the folder ``bag`` besides. Raises BagError, OSError.
    """
    remove_bag(folder / "bag")
    for name in made:
        (folder / name).unlink(missing_ok=True)  # of a symbolic link, the link
