# SPDX-License-Identifier: Apache-2.0
"""Finished episodes, a line of JSON each: what a run that was cut off leaves, and goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vla_infoentropy_ros.foreign.text import UserError, shown


class OfPolicy(Protocol):
    """An episode that says which policy played it."""

    @property
    def revision(self) -> str:
        """Of the policy's weights."""


Episode = TypeVar("Episode")
Weighed = TypeVar("Weighed", bound=OfPolicy)


class EpisodeLogError(UserError, ValueError):
    """A file that is no log of such episodes; the message names its line."""


def finished(path: Path | None, of: Callable[[Any], Episode]) -> list[Episode]:
    """The episodes in ``path``, in the order in which they ended; none where there is no file.

    of: makes an episode of what a line holds, or raises KeyError, TypeError or ValueError. A last
    line that was cut off counts for nothing. Raises EpisodeLogError, OSError.
    """
    if path is None or not path.exists():
        return []
    # Whatever file was named, it is only read: it may be no log, or another run's, who adds to it.
    lines = path.read_bytes().split(b"\n")
    last = lines.pop()
    if last and not (lines and _cut_off(last)):
        lines.append(last)
    episodes = []
    for number, line in enumerate(lines, 1):
        try:
            episodes.append(of(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            told = shown(line[:80].decode("utf-8", "replace"))
            raise EpisodeLogError(f"{path}, line {number}: no episode of this command: {told}; "
                                  "name another log") from error
    return episodes


def of_policy(path: Path | None, of: Callable[[Any], Weighed], revision: str) -> list[Weighed]:
    """As `finished`, of episodes that say their policy. Raises EpisodeLogError where one is of
    other weights than ``revision``."""
    episodes = finished(path, of)
    for each in episodes:
        if each.revision != revision:
            raise EpisodeLogError(f"{path} holds episodes of the policy {each.revision}, this is "
                                  f"{revision}; name another log")
    return episodes


def add(path: Path | None, episode: object) -> None:
    """Append one that ended, its folders made where they are missing, to a file that `finished`
    took for a log: a line that was cut off is taken off. None: to no log."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.read_bytes() if path.exists() else b""
    last = there[there.rfind(b"\n") + 1:]
    if last and _cut_off(last):
        os.truncate(path, len(there) - len(last))
        last = b""
    with path.open("a", encoding="utf-8") as log:
        log.write("\n" * bool(last) + json.dumps(episode) + "\n")


def _cut_off(line: bytes) -> bool:
    """Whether it may be the beginning of an episode's line, and no whole one."""
    try:
        json.loads(line)
    except ValueError:
        return line.startswith((b"{", b"["))
    return False


def hold(path: Path, shared: Mapping[str, str]) -> None:
    """``path`` says what all episodes of its folder share, such as the policy: since a finished
    episode is not played again, those of another would be taken for it. Written where there is
    none yet. Raises EpisodeLogError where it says something else, OSError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}")  # another run may look at it now
        whole.write_text(json.dumps(shared, indent=2) + "\n", encoding="utf-8")
        whole.replace(path)
    there = held(path)
    for name, value in shared.items():
        if there.get(name) != value:
            raise EpisodeLogError(f"{path.parent} is for episodes of {name} "
                                  f"{shown(there.get(name))}, this is {shown(value)}: name another "
                                  "folder, or remove it")


def held(path: Path) -> dict[str, str]:
    """What `hold` wrote, nothing where there is no file. Raises EpisodeLogError, OSError."""
    if not path.exists():
        return {}
    try:
        return {str(name): str(value)
                for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (AttributeError, ValueError) as error:
        raise EpisodeLogError(f"{path} does not say whose episodes are beside it: remove it "
                              "together with them, or name another folder") from error
