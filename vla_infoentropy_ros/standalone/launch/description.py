# SPDX-License-Identifier: Apache-2.0
"""Reads a launch file, with its includes, into a list of processes to start."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from . import substitutions
from .substitutions import Scope
from .xml_tree import Element, LaunchError, parse

MAX_INCLUDE_DEPTH = 20
_PARAMETER_TYPES: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "list_of_int": int,
    "list_of_float": float,
    "list_of_str": str,
}
_NAMESPACE = re.compile(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+")
_PROCESS = {
    "if",
    "unless",
    "name",
    "output",
    "respawn",
    "respawn_delay",
    "on_exit",
    "cwd",
    "sigterm_timeout",
    "sigkill_timeout",
}


@dataclass(frozen=True)
class Argument:
    """One <arg> of a launch file."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class ParameterFile:
    """One <param from="..."/>."""

    path: str


@dataclass(frozen=True)
class Process:
    """One process to start.

    package: empty for <executable>. namespace: absolute, or empty where none was given.
    """

    where: str
    name: str
    package: str = ""
    executable: str = ""
    namespace: str = ""
    arguments: tuple[str, ...] = ()
    # ParameterFile or (name, value), in the order given: later ones win
    parameters: tuple[Any, ...] = ()
    remaps: tuple[tuple[str, str], ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    respawn: bool = False
    respawn_delay: float = 0.0
    shutdown_on_exit: bool = False
    sigterm_timeout: float = 5.0
    sigkill_timeout: float = 5.0
    cwd: str | None = None


class Description:
    """The result of reading a launch file."""

    def __init__(self, path: Path, given: dict[str, str], *, only_arguments: bool = False) -> None:
        """Evaluate the file with the arguments given on the command line."""
        self.arguments: dict[str, Argument] = {}
        self.processes: list[Process] = []
        self.messages: list[str] = []
        self._given = given
        self._only_arguments = only_arguments
        self._variables: dict[str, str] = dict(given)
        self._environment = substitutions.process_environment()
        self._namespace = ""
        self._depth = 0
        self._run_file(path)
        unknown = sorted(set(given) - set(self.arguments))
        if unknown:
            known = ", ".join(self.arguments) or "none"
            raise LaunchError(
                f"{path}: unknown argument {', '.join(repr(name) for name in unknown)}. "
                f"Arguments of this file: {known}. See --show-args."
            )

    @property
    def _scope(self) -> Scope:
        return Scope(self._variables, self._environment)

    def _text(self, element: Element, name: str, default: str | None = None) -> str:
        """Evaluated attribute; an error when it is required and missing."""
        raw = element.attributes.get(name)
        if raw is not None:
            return substitutions.evaluate(raw, self._scope, element)
        if default is None:
            raise element.error(f"needs the attribute '{name}'.")
        return default

    def _enabled(self, element: Element) -> bool:
        if "if" in element.attributes and "unless" in element.attributes:
            raise element.error("has both 'if' and 'unless'.")
        for name, wanted in (("if", True), ("unless", False)):
            if name in element.attributes:
                text = element.attributes[name]
                return substitutions.condition(text, self._scope, element) is wanted
        return True

    def _number(self, element: Element, name: str, default: float) -> float:
        text = self._text(element, name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if value < 0:
            raise element.error(f"{name} is {text!r}; it must be a number of seconds >= 0.")
        return value

    def _flag(self, element: Element, name: str) -> bool:
        text = element.attributes.get(name, "false")
        return substitutions.condition(text, self._scope, element)

    # Elements

    def _run_file(self, path: Path) -> None:
        if self._depth >= MAX_INCLUDE_DEPTH:
            raise LaunchError(f"{path}: includes are nested more than {MAX_INCLUDE_DEPTH} deep.")
        root = parse(path)
        root.allow({"version"}, set(_HANDLERS))
        self._depth += 1
        self._run(root.children)
        self._depth -= 1

    def _run(self, elements: list[Element]) -> None:
        for element in elements:
            if element.tag not in _HANDLERS:
                raise element.error(
                    f"is not supported by this runner. Supported: {', '.join(sorted(_HANDLERS))}"
                )
            # Arguments are declared even where a condition cannot be evaluated yet.
            if element.tag == "arg" or self._enabled(element):
                _HANDLERS[element.tag](self, element)

    def _arg(self, element: Element) -> None:
        element.allow({"name", "default", "description"}, {"choice"})
        name = self._text(element, "name")
        for child in element.children:
            child.allow({"value"}, set())
        choices = tuple(self._text(child, "value") for child in element.children)
        default = self._text(element, "default", "") if "default" in element.attributes else None
        description = self._text(element, "description", "")
        self.arguments.setdefault(name, Argument(name, default, description, choices))
        if name not in self._variables:
            if default is None:
                if self._only_arguments:
                    self._variables[name] = ""
                    return
                raise element.error(
                    f"'{name}' ({description or 'no description'}) has no default: "
                    f"give {name}:=VALUE on the command line."
                )
            self._variables[name] = default
        if choices and self._variables[name] not in choices:
            raise element.error(
                f"'{name}' is {self._variables[name]!r}; choose one of {', '.join(choices)}."
            )

    def _let(self, element: Element) -> None:
        element.allow({"name", "value", "if", "unless"}, set())
        self._variables[self._text(element, "name")] = self._text(element, "value")

    def _set_env(self, element: Element) -> None:
        element.allow({"name", "value", "if", "unless"}, set())
        self._environment[self._text(element, "name")] = self._text(element, "value")

    def _unset_env(self, element: Element) -> None:
        element.allow({"name", "if", "unless"}, set())
        self._environment.pop(self._text(element, "name"), None)

    def _log(self, element: Element) -> None:
        element.allow({"message", "level", "if", "unless"}, set())
        self.messages.append(self._text(element, "message"))

    def _push_namespace(self, element: Element) -> None:
        element.allow({"namespace", "if", "unless"}, set())
        self._namespace = self._in_namespace(element, self._text(element, "namespace"))

    def _in_namespace(self, element: Element, name: str) -> str:
        """A namespace within the one pushed last, as launch_ros joins them; "" for none at all."""
        outer = self._namespace
        if not (outer or name):
            return ""
        joined = name if name.startswith("/") else f"{outer.rstrip('/')}/{name}"
        joined = joined.rstrip("/") or "/"
        if not _NAMESPACE.fullmatch(joined):
            raise element.error(
                f"gives the namespace {joined!r}; its parts must be letters, digits or '_', must "
                "not start with a digit, and must not be empty."
            )
        return joined

    def _group(self, element: Element) -> None:
        element.allow({"if", "unless", "scoped"}, set(_HANDLERS))
        scoped = "scoped" not in element.attributes or self._flag(element, "scoped")
        saved = dict(self._variables), dict(self._environment), self._namespace
        self._run(element.children)
        if scoped:
            self._variables, self._environment, self._namespace = saved

    def _include(self, element: Element) -> None:
        element.allow({"file", "if", "unless"}, {"arg", "let"})
        for child in element.children:
            child.allow({"name", "value"}, set())
            self._variables[self._text(child, "name")] = self._text(child, "value")
        path = Path(self._text(element, "file"))
        if not path.name.endswith(".xml"):
            raise element.error(f"includes '{path}'; this runner reads only *.launch.xml files.")
        self._run_file(path)

    def _node(self, element: Element) -> None:
        element.allow(
            {*_PROCESS, "pkg", "exec", "namespace", "args", "ros_args"}, {"param", "remap", "env"}
        )
        executable = self._text(element, "exec")
        process = self._process(element, default_name=executable)
        own = [("--ros-args", *shlex.split(self._text(element, "ros_args", "")))]
        self.processes.append(
            replace(
                process,
                package=self._text(element, "pkg"),
                executable=executable,
                name=process.name,
                namespace=self._in_namespace(element, self._text(element, "namespace", "")),
                arguments=(
                    *shlex.split(self._text(element, "args", "")),
                    *(own[0] if len(own[0]) > 1 else ()),
                ),
                parameters=tuple(
                    item
                    for child in element.children
                    if child.tag == "param"
                    for item in self._parameters(child, "")
                ),
                remaps=tuple(
                    self._remap(child) for child in element.children if child.tag == "remap"
                ),
            )
        )

    def _executable(self, element: Element) -> None:
        element.allow({*_PROCESS, "cmd", "args"}, {"env"})
        command = shlex.split(self._text(element, "cmd"))
        command += shlex.split(self._text(element, "args", ""))
        if not command:
            raise element.error("has an empty 'cmd'.")
        process = self._process(element, default_name=Path(command[0]).name)
        self.processes.append(replace(process, arguments=tuple(command)))

    def _process(self, element: Element, default_name: str) -> Process:
        output = self._text(element, "output", "screen")
        known = ("screen", "log", "both", "own_log", "full")
        if output not in known:
            raise element.error(f"output is {output!r}; use one of {', '.join(known)}.")
        on_exit = self._text(element, "on_exit", "")
        if on_exit not in ("", "shutdown"):
            raise element.error(f"on_exit is {on_exit!r}; only 'shutdown' is supported.")
        environment = dict(self._environment)
        for child in element.children:
            if child.tag == "env":
                child.allow({"name", "value"}, set())
                environment[self._text(child, "name")] = self._text(child, "value")
        return Process(
            where=element.where,
            name=self._text(element, "name", default_name),
            environment=environment,
            respawn=self._flag(element, "respawn"),
            respawn_delay=self._number(element, "respawn_delay", 0.0),
            shutdown_on_exit=on_exit == "shutdown",
            sigterm_timeout=self._number(element, "sigterm_timeout", 5.0),
            sigkill_timeout=self._number(element, "sigkill_timeout", 5.0),
            cwd=self._text(element, "cwd", "") or None,
        )

    def _remap(self, element: Element) -> tuple[str, str]:
        element.allow({"from", "to"}, set())
        return self._text(element, "from"), self._text(element, "to")

    def _parameters(self, element: Element, prefix: str) -> list[Any]:
        """Values of a <param>; nested ones get dotted names."""
        element.allow({"name", "value", "from", "type", "allow_substs"}, {"param"})
        if "from" in element.attributes:
            path = self._text(element, "from")
            if "name" in element.attributes or "value" in element.attributes:
                raise element.error("has 'from' and also 'name' or 'value'.")
            if not Path(path).is_file():
                raise element.error(f"names the parameter file '{path}', which does not exist.")
            return [ParameterFile(path)]
        name = prefix + self._text(element, "name")
        if element.children:
            if "value" in element.attributes:
                raise element.error("has a value and also nested parameters.")
            nested = [self._parameters(child, name + ".") for child in element.children]
            return [item for items in nested for item in items]
        return [(name, self._typed(element, self._text(element, "value")))]

    def _typed(self, element: Element, text: str) -> Any:
        kind = element.attributes.get("type", "")
        try:
            if kind == "":
                value = yaml.safe_load(text)
                return text if value is None else value
            if kind == "bool":
                return substitutions.condition(text, self._scope, element)
            convert = _PARAMETER_TYPES[kind]
            if kind.startswith("list_of_"):
                return [convert(item) for item in yaml.safe_load(text)]
            return convert(text)
        except KeyError:
            known = ", ".join(("bool", *_PARAMETER_TYPES))
            raise element.error(f"has type {kind!r}; use one of {known}.") from None
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise element.error(f"value {text!r} is not of type {kind or 'YAML'}.") from error


_HANDLERS: dict[str, Callable[[Description, Element], None]] = {
    "arg": Description._arg,
    "let": Description._let,
    "set_env": Description._set_env,
    "unset_env": Description._unset_env,
    "log": Description._log,
    "push_ros_namespace": Description._push_namespace,
    "push-ros-namespace": Description._push_namespace,
    "group": Description._group,
    "include": Description._include,
    "node": Description._node,
    "executable": Description._executable,
}
