# SPDX-License-Identifier: Apache-2.0
"""XML elements that know the line they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from vla_infoentropy_ros.foreign.files import read_bytes
from vla_infoentropy_ros.foreign.text import UserError


class LaunchError(UserError):
    """A launch file, or an argument to it, is wrong."""


@dataclass
class Element:
    """One element of a launch file."""

    tag: str
    attributes: dict[str, str]
    path: Path
    line: int
    children: list[Element] = field(default_factory=list)

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}:{self.line}"

    def error(self, message: str) -> LaunchError:
        """Return an error at this element."""
        return LaunchError(f"{self.where}: <{self.tag}> {message}")

    def allow(self, attributes: set[str], children: set[str]) -> None:
        """Refuse attributes and children that are not known."""
        for name in self.attributes:
            if name not in attributes:
                raise self.error(
                    f"has attribute '{name}', which this runner does not support. "
                    f"Supported: {', '.join(sorted(attributes)) or 'none'}"
                )
        for child in self.children:
            if child.tag not in children:
                raise child.error(
                    f"is not supported inside <{self.tag}>. "
                    f"Supported: {', '.join(sorted(children)) or 'none'}"
                )


def parse(path: Path) -> Element:
    """Read a launch file and return its <launch> element."""
    try:
        data = read_bytes(path, "yaml_bytes", LaunchError)
    except OSError as error:
        raise LaunchError(f"Cannot read launch file {path}: {error.strerror}") from error
    parser = expat.ParserCreate()
    stack: list[Element] = []
    roots: list[Element] = []

    def start(tag: str, attributes: dict[str, Any]) -> None:
        element = Element(tag, attributes, path, parser.CurrentLineNumber)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)

    def end(tag: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        if data.strip():
            line = parser.CurrentLineNumber
            raise LaunchError(f"{path}:{line}: text {data.strip()!r} between elements.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise LaunchError(
            f"{path}:{error.lineno}: not well-formed XML: {expat.ErrorString(error.code)}"
        ) from error
    root = roots[0]
    if root.tag != "launch":
        raise root.error("found; a launch file starts with <launch>.")
    return root
