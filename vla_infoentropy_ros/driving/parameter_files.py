# SPDX-License-Identifier: Apache-2.0
"""Parameter files, looked at before rclpy reads them: it waits at a FIFO, reads /dev/zero, fails on
a value that is none with a traceback, and passes over sections of other nodes in silence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.files import read_yaml
from vla_infoentropy_ros.foreign.text import UserError, printable, shown

FILE_FLAG = "--params-file"
NODE = "/policy_node"
"""Whose parameters they are, unless it was started under another name."""
ROS_OWN = ("use_sim_time", "start_type_description_service")
"""Parameters that every node has; beside them qos_overrides.*."""
_PARAMETERS = "ros__parameters"
_WILDCARDS = {"*": "/[^/]+", "**": "(/[^/]+)*"}


class StartupError(UserError):
    """The node cannot start, by a user's mistake that the message explains."""


@dataclass(frozen=True)
class Section:
    """Parameters of the nodes that a name stands for.

    name: as it is written. pattern: of full node names. values: by full parameter names.
    """

    name: str
    pattern: re.Pattern[str]
    values: Mapping[str, Any]

    def is_for(self, node: str) -> bool:
        """node: full name."""
        return self.pattern.fullmatch(node) is not None


@dataclass(frozen=True)
class ParameterFile:
    """path: as it was given."""

    path: str
    sections: tuple[Section, ...]

    @classmethod
    def read(cls, path: str) -> ParameterFile:
        """Raises StartupError unless it is YAML within budgets, with a value for each name."""
        try:
            tree = read_yaml(Path(path), StartupError)
            sections = tuple(_sections(tree if isinstance(tree, Mapping) else {}, ()))
        except (OSError, ValueError) as cause:
            reason = getattr(cause, "strerror", None) or cause
            raise StartupError(f"{FILE_FLAG} {shown(path)} cannot be read: {reason}") from cause
        found = cls(path, sections)
        for section in found.sections:
            for name, value in section.values.items():
                if value is None or (isinstance(value, list) and None in value):
                    raise StartupError(
                        f"{found.shown}: {printable(name)} has no value; give one, or take the "
                        "line out"
                    )
        return found

    @property
    def shown(self) -> str:
        """Its path, for a sentence."""
        return printable(self.path)

    def values(self, node: str) -> dict[str, Any]:
        """Of the node's own parameters, for the node of this full name; later sections win."""
        found: dict[str, Any] = {}
        for section in self.sections:
            if section.is_for(node):
                found |= section.values
        return {name: value for name, value in found.items() if not ros_own(name)}

    def check(self, node: str) -> str:
        """Raises StartupError where no section is for the node of this full name, as where there is
        none; a warning where one looks as if it should be, else ""."""
        if not self.sections:
            raise StartupError(
                f"{self.shown} holds no parameters: no ros__parameters is in it; restore what it "
                "held, or do not give it"
            )
        others = [section.name for section in self.sections if not section.is_for(node)]
        listed = ", ".join(printable(name) for name in others)
        if others and len(others) == len(self.sections):
            raise StartupError(
                f"no section of {self.shown} is for this node, {node}: it has {listed}; call one "
                f"{node} or /**"
            )
        own = node.rpartition("/")[2]
        names = [name.rpartition("/")[2] for name in others]
        near = difflib.get_close_matches(own, names, n=1, cutoff=0.8)
        return f"{self.shown}: {listed} is not for this node, {node}" if near else ""


def ros_own(name: str) -> bool:
    """Whether every node has a parameter of this name."""
    return name in ROS_OWN or name.startswith("qos_overrides.")


def _sections(tree: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[Section]:
    for key, content in tree.items():
        path = (*above, *str(key).strip("/").split("/"))
        if not isinstance(content, Mapping):
            continue  # rclpy says what is wrong with it
        if _PARAMETERS in content:
            parts = (_WILDCARDS.get(part, f"/{re.escape(part)}") for part in path)
            values = content[_PARAMETERS]
            yield Section(
                "/".join(path) if above else str(key),
                re.compile("".join(parts)),
                _once(_flat(values, "")) if isinstance(values, Mapping) else {},
            )
        below = {name: each for name, each in content.items() if name != _PARAMETERS}
        yield from _sections(below, path)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:  # nested, and by its full name: which one would be in force?
            raise ValueError(f"{shown(name)} stands twice; take one out")
        found[name] = value
    return found


def _flat(values: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Parameters may stand within one another: {command: {rate_hz: 30.0}}."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
