# SPDX-License-Identifier: Apache-2.0
"""The commands that the documentation shows: found, run, or played with stand-ins and judged."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest import mock

import yaml
from packaging.requirements import Requirement

from vla_infoentropy_ros.__main__ import COMMANDS
from vla_infoentropy_ros.driving.settings import parameter_specs
from vla_infoentropy_ros.launch_runner.description import Description

ROOT = Path(__file__).parents[2]
PACKAGE = "vla_infoentropy_ros"
# Programs of others: that they are called is all that can be said without them.
_OTHERS = ("apt-get", "cp", "dask", "docker", "git", "grep", "rosdep", "rviz2", "sed", "sudo")
_ROS2_VERBS = {
    "action list", "bag record", "interface show", "lifecycle get", "lifecycle set", "param get",
    "pkg prefix", "run tf2_ros", "security create_keystore", "security generate_artifacts",
    "topic delay", "topic echo", "topic hz", "topic info", "topic list",
}
_MARK = re.compile(r"<!-- stand-ins: (?P<reason>.+) -->$")

_WHOLE = re.compile(r"(make [a-z]|(\S+/)?python -m vla_|ros2 (launch|service) )"
                    r"(?!.*\b(FILE|COMMAND)\b)(?!\S+ -m \S+ \.\.\.$)")
_SHORT = re.compile(rf"({'|'.join(COMMANDS)}) .*--")  # of one of ours, and an option of its
_NOTE = """#!/bin/sh
printf '%s\\0' "${{0##*/}}" "$@" '
' >> {log}
"""  # by one write: a page may run two programs side by side


@dataclass(frozen=True)
class Block:
    """A shell block. stand_ins: why its programs are not run here; empty: they are."""

    place: str
    text: str
    stand_ins: str


def blocks(page: Path) -> Iterator[Block]:
    """In the order of the page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        begin = re.match(r"^( *)```(sh|bash|shell|console)$", lines[at])
        if begin:
            end = lines.index(f"{begin[1]}```", at)
            mark = _MARK.match(lines[at - 1].strip())
            yield Block(f"{page.relative_to(ROOT)}:{at + 1}",
                        "\n".join(line[len(begin[1]):] for line in lines[at + 1 : end]),
                        mark["reason"] if mark else "")
            at = end
        at += 1


def quoted(page: Path) -> Iterator[tuple[str, str]]:
    """(place, command) of every command in running text, with what it needs or with an option."""
    text = re.sub(r"^( *)```.*?^\1```", lambda block: "\n" * block[0].count("\n"),
                  page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for found in re.finditer(r"`([^`]+)`", text):
        command = " ".join(found[1].split()).replace("\\|", "|")
        line = text.count("\n", 0, found.start()) + 1
        if _SHORT.match(command):
            command = f"python -m {PACKAGE} {command}"
        if _WHOLE.match(command):
            yield f"{page.relative_to(ROOT)}:{line}", re.sub(r"(?<! --model) \.\.\.$", "", command)


def played(block: Block, folder: Path) -> list[list[str]]:
    """Run a block by bash, each program replaced by one that notes how it was called."""
    bin_, log = folder / "bin", folder / "called"
    bin_.mkdir()
    note = bin_ / "note"
    note.write_text(_NOTE.format(log=log))
    note.chmod(0o755)
    text = re.sub(r"(?<![\w/])(?:/path/to|\.venv|\.venv-libero)[\w/]*/bin/", "", block.text)
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    called = {word for word in words if re.fullmatch(r"[a-z][\w.-]*", word)}
    for name in called.union(_JUDGES, _OTHERS) - {"cat", "cd", "export", "kill", "mkdir", "source"}:
        (bin_ / name).symlink_to(note)
    begin = "source() { :; }\ncd() { :; }\nset -eu\n"
    subprocess.run(["bash", "-c", begin + text + "\nwait\n"], check=True, cwd=folder, timeout=60,
                   env={"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(folder)}, text=True,
                   stdin=subprocess.DEVNULL)
    noted = log.read_bytes().decode().split("\n\0") if log.exists() else []
    return [call.removesuffix("\0").split("\0") for call in noted if call]


def judge(call: Sequence[str]) -> None:
    """Assert that a program could be called so."""
    program, *words = call
    if program in _OTHERS:
        return
    assert program in _JUDGES, f"{program}: nobody here knows it; teach this test, or mend the page"
    _JUDGES[program](words)


def _make(words: list[str]) -> None:
    subprocess.run(["make", "-n", "-C", str(ROOT), *words], check=True, capture_output=True)


class _Parsed(Exception):
    """A command line was taken."""


def _python(words: list[str]) -> None:
    if words[0] == "-":
        return  # what follows is on its standard input
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words[0]
        return
    name, *rest = words[1:]
    if not name.startswith(PACKAGE):
        assert name in ("venv", "pytest", "pip"), name
        return
    if name == f"{PACKAGE}.launch_runner":
        _launch(rest)
        return
    if not rest and name != PACKAGE:
        assert any((ROOT / f"{name.replace('.', '/')}{end}").is_file()
                   for end in (".py", "/__main__.py")), name
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, args: Sequence[str] | None = None, *more: object):
        parse(self, args if args is not None else rest)
        raise _Parsed

    told = io.StringIO()
    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), \
            contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            code = _main(name)(rest)
        except _Parsed:
            return
        except SystemExit as end:
            code = end.code
    assert not code, f"{shlex.join(words)}: {told.getvalue()}"


def _main(name: str) -> Callable[[list[str]], object]:
    """What ``python -m name`` runs."""
    if (ROOT / name.replace(".", "/") / "__main__.py").is_file():
        name += ".__main__"
    main: Callable[[list[str]], object] = importlib.import_module(name).main
    return main


def _pip(words: list[str]) -> None:
    assert words[0] == "install", words
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for word in words[1:]:
        if not word.startswith("-") and "/" not in word:
            requirement = Requirement(word)
            if requirement.name == PACKAGE:
                assert all(f'"{extra}": [' in setup for extra in requirement.extras), word


def _ros2(words: list[str]) -> None:
    verb = " ".join(words[:2])
    if words[0] == "launch":
        assert words[1] == PACKAGE, words
        _launch(words[2:])
    elif verb == f"run {PACKAGE}":
        _node(words[3:])
    elif verb in ("topic pub", "service call", "action send_goal"):
        names = [word for word in words[2:] if not re.fullmatch(r"-.*|\d+|transient_local", word)]
        _message(verb.split()[0], *names[1:])
    else:
        assert verb in _ROS2_VERBS, f"ros2 {verb}"


def _launch(words: list[str]) -> None:
    file = ROOT / "launch" / Path(words[0]).name
    given = dict(word.split(":=", 1) for word in words[1:] if not word.startswith("-"))
    arguments = Description(file, given, only_arguments=True).arguments.values()
    missing = [each.name for each in arguments if each.default is None and each.name not in given]
    assert not missing or any(word.startswith("-") for word in words), f"{file.name}: {missing}"


def _node(words: list[str]) -> None:
    known = {spec.name for spec in parameter_specs()}
    given = [word.split(":=")[0] for flag, word in pairwise(words)
             if flag == "-p"]
    assert given and set(given) <= known, words


def _message(kind: str, name: str, text: str = "{}") -> None:
    """kind: topic, service or action. text: YAML of its fields."""
    package, _, class_ = name.split("/")
    folder = {"topic": "msg", "service": "srv", "action": "action"}[kind]
    type_ = getattr(importlib.import_module(f"{package}.{folder}"), class_)
    part = {"topic": type_, "service": getattr(type_, "Request", None),
            "action": getattr(type_, "Goal", None)}[kind]
    _fields(part, yaml.safe_load(text))


def _fields(type_: type, values: dict[str, object]) -> None:
    types = type_.get_fields_and_field_types()
    for name, value in values.items():
        assert name in types, f"{type_.__name__} has no {name}"
        if isinstance(value, dict):
            package, class_ = types[name].split("/")
            _fields(getattr(importlib.import_module(f"{package}.msg"), class_), value)
        elif value != "now":
            as_typed = float(value) if types[name] == "double" else value
            type_(**{name: as_typed}, check_fields=True)


def _colcon(words: list[str]) -> None:
    assert words[0] in ("build", "test", "test-result") and words[-1] in (PACKAGE, "--verbose")


def _pytest(words: list[str]) -> None:
    assert all((ROOT / word).exists() for word in words if not word.startswith("-")), words


_JUDGES: dict[str, Callable[[list[str]], None]] = {
    "make": _make, "python": _python, "python3": _python, "pip": _pip, "ros2": _ros2,
    "colcon": _colcon, "pytest": _pytest,
}


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as it stands, in a folder from which the checkout's files are seen."""
    for path in ROOT.iterdir():
        if path.name not in (".git", "out", ".venv"):
            (folder / path.name).symlink_to(path)
    bin_ = folder / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name in ("python", "python3"):
        script = bin_ / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}",
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(["bash", "-euc", block.text], cwd=folder, env=environment, text=True,
                          capture_output=True, timeout=300, check=False)
