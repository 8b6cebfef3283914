# SPDX-License-Identifier: Apache-2.0
"""Reads a launch file into a list of processes to start."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.share import PACKAGE, share_directory

from .xml_tree import Element, LaunchError, parse

_SUBSTITUTION = re.compile(r"\$\((?P<name>[\w-]+)(?P<words>[^()]*)\)")
_NAMESPACE = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_TOPIC = re.compile(rf"([A-Za-z0-9_]+:)?(~/)?{_NAMESPACE.pattern}")  # of one node, or private
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_TYPES: Mapping[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}


@dataclass(frozen=True)
class Argument:
    """One <arg> of a launch file."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """The choices, for messages. Nothing can be set to the empty one: it is had by default."""
        given = ", ".join(filter(None, self.choices))
        return f"{given}, or leave it away" if "" in self.choices else given


@dataclass(frozen=True)
class ParameterFile:
    """One <param from="..."/>."""

    path: str


@dataclass(frozen=True)
class Process:
    """One process to start.

    package: empty for <executable>. namespace: absolute, or empty where none was given.
    parameters: ParameterFile or (name, value), in the order given: later ones win. ends_all: the
    others are stopped when it ends, however it does.
    """

    where: str
    name: str
    package: str = ""
    executable: str = ""
    namespace: str = ""
    arguments: tuple[str, ...] = ()
    parameters: tuple[Any, ...] = ()
    remaps: tuple[tuple[str, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ends_all: bool = False


class Description:
    """The result of reading a launch file with the arguments given on the command line.

    only_arguments: read the arguments alone; required ones may be missing. Raises LaunchError.
    """

    def __init__(
        self, path: Path, given: Mapping[str, str], *, only_arguments: bool = False
    ) -> None:
        self.arguments: dict[str, Argument] = {}
        self.processes: list[Process] = []
        self._variables: dict[str, str] = dict(given)
        self._environment = dict(os.environ)
        handlers: dict[str, Callable[[Element], None]] = {"arg": self._arg}
        if not only_arguments:
            handlers |= {
                "set_env": self._set_env, "node": self._node, "executable": self._executable,
            }  # fmt: skip
        root = parse(path)
        root.allow({"version"}, {"arg", "set_env", "node", "executable"})
        self._required = not only_arguments
        for element in root.children:
            if element.tag in handlers:
                handlers[element.tag](element)
        if unknown := sorted(set(given) - set(self.arguments)):
            hint = did_you_mean(unknown[0], self.arguments)
            raise LaunchError(
                f"{path}: unknown argument {', '.join(map(repr, unknown))}"
                f"{'; ' if hint else '.'}{hint} Arguments of this file: "
                f"{', '.join(self.arguments) or 'none'}. See --show-args."
            )

    def _arg(self, element: Element) -> None:
        element.allow({"name", "default", "description"}, {"choice"})
        for child in element.children:
            child.allow({"value"}, set())
        name = self._text(element, "name")
        description = " ".join(self._text(element, "description", "").split())  # lines of the XML
        choices = tuple(self._text(child, "value") for child in element.children)
        default = self._text(element, "default") if "default" in element.attributes else None
        argument = self.arguments[name] = Argument(name, default, description, choices)
        if default is None and name not in self._variables:
            if self._required:
                raise element.error(
                    f"'{name}' ({description or 'no description'}) has no default: "
                    f"give {name}:=VALUE on the command line."
                )
            return
        value = self._variables.setdefault(name, default or "")
        if choices and value not in choices:
            raise element.error(f"'{name}' is {value!r}; choose one of {argument.allowed}.")

    def _set_env(self, element: Element) -> None:
        element.allow({"name", "value"}, set())
        self._environment[self._text(element, "name")] = self._text(element, "value")

    def _node(self, element: Element) -> None:
        element.allow(
            {"pkg", "exec", "name", "namespace", "args", "ros_args", "output", "if", "unless",
             "on_exit"},
            {"param", "remap"},
        )
        if not self._wanted(element):
            return
        executable, ros = self._text(element, "exec"), self._words(element, "ros_args")
        of = {tag: [child for child in element.children if child.tag == tag]
              for tag in ("param", "remap")}
        self.processes.append(
            Process(
                where=element.where,
                name=self._text(element, "name", executable),
                package=self._text(element, "pkg"),
                executable=executable,
                namespace=self._namespace(element),
                arguments=(*self._words(element, "args"), *(("--ros-args", *ros) if ros else ())),
                parameters=tuple(self._parameter(child) for child in of["param"]),
                remaps=tuple(self._remap(child) for child in of["remap"]),
                environment=dict(self._environment),
                ends_all=self._ends_all(element),
            )
        )

    def _executable(self, element: Element) -> None:
        element.allow({"cmd", "args", "name", "output", "if", "unless", "on_exit"}, set())
        if not self._wanted(element):
            return
        command = (*self._words(element, "cmd"), *self._words(element, "args"))
        if not command:
            raise element.error("has an empty 'cmd'.")
        name = self._text(element, "name", Path(command[0]).name)
        self.processes.append(
            Process(
                element.where,
                name,
                arguments=command,
                environment=dict(self._environment),
                ends_all=self._ends_all(element),
            )
        )

    def _wanted(self, element: Element) -> bool:
        """What its condition says, in the words that ros2 launch takes; true without one."""
        return self._truth(element, "if", "true") and not self._truth(element, "unless", "false")

    def _truth(self, element: Element, name: str, default: str) -> bool:
        text = self._text(element, name, default).strip().lower()
        if text not in _TRUTH:
            raise element.error(f"has {name}={text!r}; use one of {', '.join(_TRUTH)}.")
        return _TRUTH[text]

    def _ends_all(self, element: Element) -> bool:
        """Whether all end where this process does."""
        text = self._text(element, "on_exit", "")
        if text not in ("", "shutdown"):
            raise element.error(f"has on_exit={text!r}; use shutdown, or leave it away.")
        return text == "shutdown"

    def _namespace(self, element: Element) -> str:
        name = self._text(element, "namespace", "").rstrip("/")
        if name and not _NAMESPACE.fullmatch(name):
            raise element.error(
                f"gives the namespace {name!r}; its parts must be letters, digits or '_', must "
                "not start with a digit, and must not be empty."
            )
        return f"/{name.lstrip('/')}" if name else ""

    def _remap(self, element: Element) -> tuple[str, str]:
        element.allow({"from", "to"}, set())
        given = {name: self._text(element, name) for name in ("from", "to")}
        for name in given.values():
            if not _TOPIC.fullmatch(name):
                raise element.error(f"has {name!r}, which is no topic's name: letters, digits and "
                                    "'_', parts with '/' between them that begin with no digit.")
        return given["from"], given["to"]

    def _parameter(self, element: Element) -> ParameterFile | tuple[str, Any]:
        if "from" in element.attributes:
            element.allow({"from"}, set())
            path = self._text(element, "from")
            if not Path(path).is_file():
                what = "is a folder" if Path(path).is_dir() else "does not exist"
                raise element.error(f"names the parameter file '{path}', which {what}.")
            return ParameterFile(path)
        element.allow({"name", "value", "type"}, set())
        text, kind = self._text(element, "value"), element.attributes.get("type")
        if kind is not None and kind not in _TYPES:
            raise element.error(f"has type {kind!r}; use one of {', '.join(_TYPES)}.")
        try:
            value = yaml.safe_load(text) if kind is None else _TYPES[kind](text)
        except (ValueError, yaml.YAMLError) as error:
            raise element.error(f"value {text!r} is not of type {kind or 'YAML'}.") from error
        return self._text(element, "name"), text if value is None else value

    def _text(self, element: Element, name: str, default: str | None = None) -> str:
        """Attribute with its substitutions carried out; LaunchError where there is none."""
        raw = element.attributes.get(name, default)
        if raw is None:
            raise element.error(f"needs the attribute '{name}'.")
        return self._evaluated(element, raw)

    def _words(self, element: Element, name: str) -> tuple[str, ...]:
        """Attribute as words. It is split first: a value with a space in it stays one word."""
        raw = element.attributes.get(name, "")
        found = [match.group() for match in _SUBSTITUTION.finditer(raw)]
        marked = iter(range(len(found)))
        words = shlex.split(_SUBSTITUTION.sub(lambda _: f"\0{next(marked)}\0", raw))
        whole = (re.sub("\0(\\d+)\0", lambda mark: found[int(mark[1])], word) for word in words)
        return tuple(self._evaluated(element, word) for word in whole)

    def _evaluated(self, element: Element, text: str) -> str:
        value = _SUBSTITUTION.sub(lambda found: self._substitution(element, found), text)
        if "$(" in _SUBSTITUTION.sub("", text):
            raise element.error(f"has a substitution that is not closed, or nested, in {text!r}.")
        return value

    def _substitution(self, element: Element, found: re.Match[str]) -> str:
        name, words = found["name"], found["words"].split()
        if name == "var" and len(words) == 1:
            if words[0] not in self._variables:
                raise element.error(
                    f"uses $(var {words[0]}), but no <arg> above it defines '{words[0]}'. "
                    f"Defined: {', '.join(self._variables) or 'none'}"
                )
            return self._variables[words[0]]
        if name == "find-pkg-share" and words == [PACKAGE]:
            return str(share_directory())
        raise element.error(
            f"uses {found.group()}; without ROS 2 only $(var NAME) and $(find-pkg-share {PACKAGE}) "
            "are known: source ROS 2 and use ros2 launch."
        )
