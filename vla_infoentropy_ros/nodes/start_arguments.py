# SPDX-License-Identifier: Apache-2.0
"""What a node is given at its start, which of it wins, and where a value in force came from.

Launch files pass their arguments on as ``--given name:=value ...``. These win over parameter files;
one without a value was given by nobody, and sets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vla_infoentropy_ros.driving.parameter_files import FILE_FLAG, ParameterFile, StartupError
from vla_infoentropy_ros.foreign.text import shown

GIVEN_FLAG = "--given"
DEFAULT, COMMAND_LINE, LAUNCH = "default", "command line", "launch argument"
_VALUE_FLAGS = ("-p", "--param")
_EVERY_NODE = "/**"  # the section into which ROS puts single values


@dataclass(frozen=True)
class SingleValue:
    """A ``-p`` of a command line. section: of the nodes that it is for."""

    section: str
    name: str
    text: str

    @classmethod
    def read(cls, rule: str) -> SingleValue:
        """From [NODE:]name:=value."""
        name, _, text = rule.partition(":=")
        node, _, own = name.rpartition(":")
        return cls(node or _EVERY_NODE, own, text)


@dataclass(frozen=True)
class _Entry:
    """One value of one parameter. value: as its file holds it, or a command line's text."""

    section: str
    name: str
    value: Any
    origin: str


@dataclass(frozen=True)
class StartArguments:
    """rest: what is left for rclpy. sources: files and single values, as later ones win.
    given: values by launch arguments' parameters, not typed yet."""

    rest: tuple[str, ...] = ()
    sources: tuple[ParameterFile | SingleValue, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, command: Sequence[str]) -> StartArguments:
        """From a command line. Raises StartupError for what is not of the form, or no file."""
        rest: list[str] = []
        sources: list[ParameterFile | SingleValue] = []
        given: dict[str, str] = {}
        words = iter(command)
        flag = ""
        for word in words:
            if flag == GIVEN_FLAG and not word.startswith("--"):
                name, separator, value = word.partition(":=")
                if not (name and separator):
                    raise StartupError(f"{GIVEN_FLAG} {word!r} is not of the form name:=value")
                if value:
                    given[name] = value
                continue
            if flag == FILE_FLAG:
                sources.append(ParameterFile.read(word))
            elif flag in _VALUE_FLAGS:
                sources.append(SingleValue.read(word))
            flag = word
            if word != GIVEN_FLAG:
                rest.append(word)
        return cls(tuple(rest), tuple(sources), given)

    def check(self, node: str) -> list[str]:
        """Raises StartupError where a file has nothing for the node of this full name, or where ROS
        would let an earlier source win; warnings."""
        files = [each for each in self.sources if isinstance(each, ParameterFile)]
        warnings = list(filter(None, (file.check(node) for file in files)))
        entries = list(self._entries(node))
        # rcl puts sections of one name together, where the first of them stands.
        sections = list(dict.fromkeys(each.section for each in entries))
        entries_by_rcl = sorted(entries, key=lambda each: sections.index(each.section))
        in_force = {each.name: each for each in entries_by_rcl}
        for last in {each.name: each for each in entries}.values():
            found = in_force[last.name]
            if str(found.value) != str(last.value) and last.name not in self.given:
                raise StartupError(
                    f"{last.name}: {last.origin} comes last and says {shown(last.value)} (in "
                    f"{last.section}), but ROS would take {shown(found.value)} from "
                    f"{found.origin} (in {found.section}): call the sections of both alike"
                )
        return warnings

    def _entries(self, node: str) -> Iterator[_Entry]:
        """For the node of this full name, in the order of the command line."""
        for source in self.sources:
            if isinstance(source, SingleValue):
                if source.section in (_EVERY_NODE, node, node.rpartition("/")[2]):
                    yield _Entry(source.section, source.name, source.text, COMMAND_LINE)
                continue
            for section in source.sections:
                if section.is_for(node):
                    for name, value in section.values.items():
                        yield _Entry(section.name, name, value, source.shown)

    def origins(self, node: str) -> dict[str, str]:
        """Where the values of parameters came from, by name; what is not in it is a default."""
        found = {each.name: each.origin for each in self._entries(node)}
        return found | dict.fromkeys(self.given, LAUNCH)
