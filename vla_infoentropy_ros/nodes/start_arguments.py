# SPDX-License-Identifier: Apache-2.0
"""What a node is given at its start, which of it wins, and where a value in force came from.

Launch files pass their arguments on as ``--given name:=value ...``. These win over parameter files;
one without a value was given by nobody, and sets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vla_infoentropy_ros.driving.parameter_files import FILE_FLAG, ParameterFile, StartupError

GIVEN_FLAG = "--given"
DEFAULT, COMMAND_LINE, LAUNCH = "default", "command line", "launch argument"
_VALUE_FLAGS = ("-p", "--param")


@dataclass(frozen=True)
class StartArguments:
    """rest: what is left for rclpy. sources: files and names of single values, as later ones win.
    given: values by launch arguments' parameters, not typed yet."""

    rest: tuple[str, ...] = ()
    sources: tuple[ParameterFile | str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, command: Sequence[str]) -> StartArguments:
        """From a command line. Raises StartupError for what is not of the form, or no file."""
        rest: list[str] = []
        sources: list[ParameterFile | str] = []
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
                sources.append(word.partition(":=")[0].rpartition(":")[2])
            flag = word
            if word != GIVEN_FLAG:
                rest.append(word)
        return cls(tuple(rest), tuple(sources), given)

    def check(self, node: str) -> list[str]:
        """Raises StartupError where a file has nothing for the node of this full name; warnings."""
        files = [each for each in self.sources if isinstance(each, ParameterFile)]
        return list(filter(None, (file.check(node) for file in files)))

    def origins(self, node: str) -> dict[str, str]:
        """Where the values of parameters came from, by name; what is not in it is a default."""
        found: dict[str, str] = {}
        for source in self.sources:
            if isinstance(source, str):
                found[source] = COMMAND_LINE
                continue
            for section in source.sections:
                if section.is_for(node):
                    found |= dict.fromkeys(section.values, source.shown)
        return found | dict.fromkeys(self.given, LAUNCH)
