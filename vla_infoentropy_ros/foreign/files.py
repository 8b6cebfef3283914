# SPDX-License-Identifier: Apache-2.0
"""Reading files of others: regular files only, and at most so many bytes of them.

A FIFO where a config.json should be would hold a start for ever, /dev/zero would fill the memory.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # the same, tens of times as fast
except ImportError:
    from yaml import SafeLoader

from vla_infoentropy_ros.foreign.budgets import BudgetError, within
from vla_infoentropy_ros.foreign.text import one_line, shown

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def open_regular(
    path: Path, budget: str = "", error: type[Exception] = BudgetError
) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    budget: name of the one that its size must keep to, "" for none. Raises ``error`` for anything
    but a regular file and for a larger one, OSError where it cannot be opened.
    """
    # Without waiting: opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            kind = next((name for test, name in _KINDS if test(about.st_mode)), "something else")
            raise error(f"{path} is {kind}; name a regular file")
        if budget:
            within(budget, about.st_size, path, error)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, budget: str, error: type[Exception] = BudgetError) -> bytes:
    """The content of a regular file within its budget; raises as `open_regular`."""
    with open_regular(path, budget, error) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1)  # one more: it may be growing
    within(budget, len(data), path, error)
    return data


def read_json(path: Path, error: type[Exception] = BudgetError, budget: str = "json_bytes") -> Any:
    """The JSON value in ``path``; no name may stand twice in an object, for one would be ignored.

    Raises ``error`` for anything else, OSError where the file cannot be opened.
    """
    data = read_bytes(path, budget, error)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError:
        _too_deep(path, error)
    except ValueError as cause:
        raise error(f"{path} cannot be read as JSON: {one_line(cause)}; fetch it again") from cause
    within("nesting", _depth(value), path, error)
    return value


class _Loader(SafeLoader):
    """The library keeps the last of two values of one name in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        for key in (key for key, _ in pairs if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{shown(key.value)} stands twice", key.start_mark
                )
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def read_yaml(path: Path, error: type[Exception] = BudgetError) -> Any:
    """The YAML value in ``path``, of plain types; raises as `read_json`."""
    data = read_bytes(path, "yaml_bytes", error)
    try:
        deepest = depth = aliases = 0
        for event in yaml.parse(data, Loader=SafeLoader):
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            deepest = max(deepest, depth)
            within("yaml_aliases", aliases, path, error)
            within("nesting", deepest, path, error)
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        _too_deep(path, error)
    except (yaml.YAMLError, UnicodeError) as cause:
        raise error(f"{path} cannot be read as YAML: {one_line(cause)}; correct it") from cause


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{shown(name)} stands twice in one object")
        made[name] = value
    return made


def _too_deep(path: Path, error: type[Exception]) -> NoReturn:
    within("nesting", 1000, path, error)
    raise AssertionError("the budget of nesting is beyond what the parser can do")


def _depth(value: Any) -> int:
    """How many objects and lists stand within one another, without recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        each, depth = left.pop()
        if isinstance(each, (dict, list)):
            deepest = max(deepest, depth)
            inner = each.values() if isinstance(each, dict) else each
            left += [(one, depth + 1) for one in inner if isinstance(one, (dict, list))]
    return deepest


def check_weights(path: Path, error: type[Exception] = BudgetError) -> None:
    """Raise ``error`` for what is no regular file, or a safetensors file whose table in front is
    larger than its budget: a library would read it whole, and make much more of it."""
    with open_regular(path, error=error) as file:
        announced = int.from_bytes(file.read(8), "little")
    within("weights_header_bytes", announced, path, error)
