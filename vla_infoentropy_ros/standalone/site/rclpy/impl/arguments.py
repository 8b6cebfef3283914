# SPDX-License-Identifier: Apache-2.0
"""Command-line arguments of ROS: everything between ``--ros-args`` and ``--``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from . import names

_SEVERITIES = ("debug", "info", "warn", "error", "fatal", "unset")


class _Loader(yaml.SafeLoader):
    """YAML as the parameter parser of ROS reads it: 1e3 is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


class ArgumentError(RuntimeError):
    """A ROS argument cannot be understood."""


@dataclass(frozen=True)
class Remap:
    """One ``-r`` rule; ``node`` limits it to nodes of that name."""

    match: str
    replacement: str
    node: str | None = None


@dataclass
class RosArguments:
    """Parsed ROS arguments, in the order given."""

    remaps: list[Remap] = field(default_factory=list)
    # (node pattern, parameter name, value), later entries win
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)
    log_levels: list[tuple[str, str]] = field(default_factory=list)
    rosout: bool = True
    enclave: str = "/"
    rest: list[str] = field(default_factory=list)

    def node_name(self, name: str) -> str:
        """Node name after ``__node`` rules."""
        return self._special(("__node", "__name"), name) or name

    def node_namespace(self, name: str) -> str | None:
        """Namespace from ``__ns`` rules, if any."""
        return self._special(("__ns",), name)

    def _special(self, keys: tuple[str, ...], node: str) -> str | None:
        for rule in self.remaps:
            if rule.match in keys and rule.node in (None, node):
                return rule.replacement
        return None

    def remap(self, absolute: str, node: str, namespace: str, is_service: bool) -> str:
        """Apply the first rule that matches an absolute topic or service name."""
        for rule in self.remaps:
            if rule.match.startswith("__") or rule.node not in (None, node):
                continue
            match, prefix = rule.match, "rosservice://" if is_service else "rostopic://"
            if "://" in match:
                if not match.startswith(prefix):
                    continue
                match = match.removeprefix(prefix)
            if names.expand(match, node, namespace) == absolute:
                return names.expand(rule.replacement, node, namespace)
        return absolute

    def parameters_for(self, node: str, namespace: str) -> dict[str, Any]:
        """Values for one node; later arguments override earlier ones."""
        full_name = names.join(namespace, node)
        return {
            name: value
            for pattern, name, value in self.parameters
            if _pattern_matches(pattern, full_name)
        }


def parse(args: list[str]) -> RosArguments:
    """Split a command line into ROS arguments and the rest."""
    result = RosArguments()
    inside = False
    position = 0
    while position < len(args):
        item = args[position]
        position += 1
        if not inside:
            inside = item == "--ros-args"
            if not inside:
                result.rest.append(item)
        elif item == "--":
            inside = False
        elif item != "--ros-args":
            position = _parse_one(result, item, args, position)
    return result


def _parse_one(result: RosArguments, flag: str, args: list[str], position: int) -> int:
    def value(wanted: str) -> str:
        if position >= len(args):
            raise ArgumentError(f"{flag} must be followed by {wanted}.")
        return args[position]

    if flag in ("-r", "--remap"):
        result.remaps.append(parse_remap(value("a rule such as from:=to")))
    elif flag in ("-p", "--param"):
        result.parameters.append(parse_parameter(value("name:=value")))
    elif flag == "--params-file":
        result.parameters += load_parameter_file(value("a YAML file"))
    elif flag == "--log-level":
        result.log_levels.append(_parse_level(value("[logger:=]level")))
    elif flag in ("-e", "--enclave"):
        result.enclave = value("a path")
    elif flag in ("--log-config-file", "--log-file-name"):
        value("a value")
    elif flag in ("--enable-rosout-logs", "--disable-rosout-logs"):
        result.rosout = flag.startswith("--enable")
        return position
    elif flag.startswith(("--enable-", "--disable-")):
        return position
    else:
        raise ArgumentError(
            f"Unknown ROS argument {flag!r}. Known: -r, -p, --params-file, --log-level, "
            "--enclave, --enable-rosout-logs, --disable-rosout-logs. "
            "Put arguments of your own before --ros-args or after --."
        )
    return position + 1


def parse_remap(text: str) -> Remap:
    """Parse ``[node:]from:=to``."""
    source, separator, target = text.partition(":=")
    if not separator or not source or not target:
        raise ArgumentError(f"Remap rule {text!r} is not of the form from:=to.")
    node = None
    if (":" in source and "://" not in source) or source.count(":") > 1:
        node, source = source.split(":", 1)
    return Remap(source, target, node)


def parse_parameter(text: str) -> tuple[str, str, Any]:
    """Parse ``[node:]name:=value``; the value is YAML."""
    name, separator, value = text.partition(":=")
    if not separator or not name:
        raise ArgumentError(f"Parameter {text!r} is not of the form name:=value.")
    node, _, short = name.rpartition(":")
    return (f"/**/{node.lstrip('/')}" if node else "/**", short, parse_value(value, short))


def parse_value(text: str, name: str) -> Any:
    """Parse a YAML scalar or list as a parameter value."""
    try:
        return check_value(yaml.load(text, Loader=_Loader) if text else "", name)
    except yaml.YAMLError as error:
        raise ArgumentError(f"Value {text!r} of parameter {name!r} is not YAML: {error}") from error


def check_value(value: Any, name: str) -> Any:
    """Refuse what a ROS parameter cannot hold, and give lists one element type."""
    if isinstance(value, list):
        if any(isinstance(item, float) for item in value) and all(
            isinstance(item, int | float) and not isinstance(item, bool) for item in value
        ):
            return [float(item) for item in value]
        kinds = {type(item) for item in value}
        if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
            raise ArgumentError(
                f"Parameter {name!r} is {value!r}: a list must hold only bool, only int, "
                "only float or only str."
            )
        return value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # dates and the like: ROS knows only the text


def _parse_level(text: str) -> tuple[str, str]:
    logger, separator, level = text.rpartition(":=")
    if level.lower() not in _SEVERITIES:
        raise ArgumentError(f"Log level {level!r} is unknown. Use one of {', '.join(_SEVERITIES)}.")
    return (logger if separator else "", level.lower())


def load_parameter_file(path: str) -> list[tuple[str, str, Any]]:
    """Read a parameter file as (node pattern, parameter name, value)."""
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ArgumentError(f"Cannot read parameter file {path!r}: {error}") from error
    except yaml.YAMLError as error:
        raise ArgumentError(f"Parameter file {path!r} is not YAML: {error}") from error
    found: list[tuple[str, str, Any]] = []
    _walk_nodes(data or {}, "", path, found)
    return found


def _walk_nodes(data: Any, prefix: str, path: str, found: list[tuple[str, str, Any]]) -> None:
    if not isinstance(data, dict):
        raise ArgumentError(
            f"Parameter file {path!r}: {prefix or 'the top'} must be a mapping of node names to "
            "'ros__parameters'."
        )
    for key, value in data.items():
        if key == "ros__parameters":
            _walk_parameters(value or {}, "", prefix or "/**", path, found)
        else:
            _walk_nodes(value, f"{prefix}/{str(key).strip('/')}", path, found)


def _walk_parameters(
    data: Any, prefix: str, pattern: str, path: str, found: list[tuple[str, str, Any]]
) -> None:
    if not isinstance(data, dict):
        raise ArgumentError(f"Parameter file {path!r}: 'ros__parameters' must be a mapping.")
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _walk_parameters(value, name + ".", pattern, path, found)
        else:
            found.append((pattern, name, check_value(value, name)))


def _pattern_matches(pattern: str, full_name: str) -> bool:
    """Match ``/ns/node`` against a pattern in which * is one part and ** any number."""
    parts = [part for part in pattern.split("/") if part]
    expression = "".join(
        r"(/\w+)*" if part == "**" else r"/\w+" if part == "*" else "/" + re.escape(part)
        for part in parts
    )
    return re.fullmatch(expression, full_name) is not None
