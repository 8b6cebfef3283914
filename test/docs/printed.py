# SPDX-License-Identifier: Apache-2.0
"""The commands that code and files print or show: help texts, messages, docstrings, comments."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from .shell import PACKAGE, ROOT

_FOLDERS = ("vla_infoentropy_ros", "launch", "config", "examples", "scripts", "msg", "action")
_FILES = ("Makefile", "CHANGELOG.rst", "package.xml", "CMakeLists.txt", "setup.py", ".ci/run")
_BEGINS = (r"(?:\S*/)?python3? -m (?:vla_infoentropy_ros|\{PACKAGE\})[\w.]*(?: |(?=[`'\"<)]))"
           r"|ros2 (?:launch vla_infoentropy_ros|service call|action send_goal|topic pub) ")
# Between marks, else to the end of its line and of those behind it that stand deeper.
_QUOTED = re.compile(rf"(?P<mark>``?|'|\"|<code>)(?P<command>(?:{_BEGINS}).*?)(?P=mark)", re.S)
_BARE = re.compile(rf"^(?P<indent>[ #]*)(?P<command>(?:{_BEGINS}).*(?:\n(?P=indent) +\S.*)*)", re.M)
_WITHIN = re.compile(rf"(?P<command>(?:{_BEGINS})[^,;)\n]*)")
# A word behind it may be one of a sentence, a variable is not.
_MAKE = re.compile(r"\b(?P<command>make [a-z]+(?:(?: [A-Z_]+=[^\s`'\"<,)]+)+|(?=[`'\"<]|  )))")
# What stands in a message for what is only known when it is said.
_KNOWN = {"PACKAGE": "vla_infoentropy_ros", "benchmark": "steps", "selector": "dense",
          "options.controller": "twist", "options.reliability": "reliable"}


def printed() -> Iterator[tuple[str, str]]:
    """(place, command), each command once."""
    seen = set()
    for path in _paths():
        text = path.read_text(encoding="utf-8")
        for line, part in _strings(text) if path.suffix == ".py" else [(1, text)]:
            for command in commands_in(part):
                if command not in seen:
                    seen.add(command)
                    yield f"{path.relative_to(ROOT)}:{line}", command


def _paths() -> Iterator[Path]:
    yield from (ROOT / name for name in _FILES)
    for folder in _FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (
            ".py", ".xml", ".yaml", ".sdf", ".sh", ".msg", ".action", ".json", ".txt"))


def _strings(code: str) -> Iterator[tuple[int, str]]:
    """Of a Python file, as they read, those of several parts as one."""
    tree = ast.parse(code)
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and id(node) not in within and \
                isinstance(node.value, str):
            yield node.lineno, node.value


def _part(node: ast.expr) -> str:
    if isinstance(node, ast.FormattedValue):
        return _KNOWN.get(ast.unparse(node.value), "1")
    assert isinstance(node, ast.Constant)
    return str(node.value)


def commands_in(text: str) -> Iterator[str]:
    """As one would type them."""
    for pattern in (_MAKE, _QUOTED, _BARE, _WITHIN):
        for found in pattern.finditer(text):
            command = re.sub(r"(?<=\S) {2,}\S.*", "", found["command"].replace("\\\n", "\n"))
            command = " ".join(command.split())
            command = re.sub(r" *(-->|\||&|</code>|\[).*$", "", command)
            if not re.search(r"\b(COMMAND|NAME|NODE)\b", command):
                yield re.sub(r"\$\(var \w+\)", "x", command)
        text = pattern.sub("", text)


def words_of(command: str) -> list[str]:
    """What `shell.judge` takes. One that is merely named, without its arguments, asks for help."""
    program, *words = shlex.split(command)
    named = words[:2] == ["-m", PACKAGE] and len(words) == 3 + (words[2:3] == ["bench"])
    return [Path(program).name, *words, *(["--help"] if named else [])]
