# SPDX-License-Identifier: Apache-2.0
"""Who speaks on the topics of a skin: an input has one source, and a robot one commander."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Crowd:
    """A topic that more than one publisher writes to.

    topic: its full name. nodes: full names, as often as each publishes on it.
    """

    topic: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.nodes)} publish on {self.topic}"


class Sources(Protocol):
    """The inputs of a skin, by the names in `control.settings.INPUTS`."""

    def crowd(self, shared: Collection[str]) -> Crowd | None:
        """An input with more sources than one that is not among those which may be shared."""
        ...


class OneSource:
    """Whoever calls is the only source: a recording, a test."""

    def crowd(self, shared: Collection[str]) -> Crowd | None:
        return None
