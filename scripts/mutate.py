# SPDX-License-Identifier: Apache-2.0
"""Are the tests of engine, selection and session red when the code is wrong?

``python scripts/mutate.py --count 40`` changes one thing at a time, in memory, a sample that the
seed fixes, and runs the tests of that room: a mutant that they all pass has survived. Each run is
a fork of a process that has torch and transformers loaded, and takes seconds where it is killed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "vla_infoentropy_ros"
ROOT = Path(__file__).parents[1]
TESTS = {
    "engine": ("test/engine", "test/session"),
    "selection": ("test/selection", "test/session"),
    "session": ("test/session", "test/engine"),
}
# Long runs that say the same as a short one beside them, or need a middleware.
SLOW = "not many_steps and not tells_its_cameras and not status_message"

_SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or,
    ast.Or: ast.And, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}
_WAITS = 20  # wall time in which a mutant must have its processor time, for what sleeps for ever
# Calls whose result is a tensor of the same kind.
_CALLS = {"min": "max", "max": "min", "mean": "sum", "argmax": "argmin", "all": "any",
          "any": "all", "cummax": "cummin", "minimum": "maximum", "maximum": "minimum"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: its line, and the code before and after."""

    path: Path
    line: int
    before: str
    after: str
    source: str

    @property
    def module(self) -> str:
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts)

    @property
    def room(self) -> str:
        return self.path.relative_to(ROOT).parts[1]


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of ``node``."""
    for name in ("op", "ops"):
        operator = getattr(node, name, None)
        first = operator[0] if isinstance(operator, list) else operator
        if type(first) in _SWAPPED:
            other = copy.deepcopy(node)
            swapped = _SWAPPED[type(first)]()
            setattr(other, name, [swapped, *operator[1:]] if isinstance(operator, list)
                    else swapped)
            yield other
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert, ast.USub)):
        yield node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.copy_location(ast.Constant(node.value + 1), node)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.copy_location(ast.Constant(not node.value), node)
    if isinstance(node, ast.Attribute) and node.attr in _CALLS:
        other = copy.deepcopy(node)
        other.attr = _CALLS[node.attr]
        yield other
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.copy_location(ast.Pass(), node)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        yield ast.copy_location(ast.Pass(), node)


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of one file; declarations of settings and texts of errors are left alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for parent in ast.walk(tree):
        if isinstance(parent, (ast.Raise, ast.AnnAssign, ast.JoinedStr, ast.Assert)):
            for child in ast.walk(parent):
                child._left_alone = True  # type: ignore[attr-defined]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            places: list[Any] = value if isinstance(value, list) else [value]
            for index, node in enumerate(places):
                if not isinstance(node, ast.AST) or hasattr(node, "_left_alone"):
                    continue
                for other in changes(node):
                    _put(parent, field, index if isinstance(value, list) else None, other)
                    source = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, field, index if isinstance(value, list) else None, node)
                    found.append(Mutant(path, getattr(node, "lineno", 0), ast.unparse(node),
                                        ast.unparse(other), source))
    return found


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from changed source, all others as ever."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._mutant.module:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self._mutant.path))

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._mutant.source, str(self._mutant.path), "exec")
        exec(code, module.__dict__)  # noqa: S102  our own source, one thing changed


def survives(mutant: Mutant | None, tests: Sequence[str], timeout_s: float) -> bool:
    """Whether all tests pass with the change, in ``timeout_s`` of processor time, which other work
    on the machine does not use up; None changes nothing."""
    child = os.fork()
    if not child:
        os.setpgrp()
        resource.setrlimit(resource.RLIMIT_CPU, (int(timeout_s), int(timeout_s) + 5))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if mutant is not None:
            sys.meta_path.insert(0, _Changed(mutant))
            # Now, for pytest has an importer of its own, which comes first.
            try:
                importlib.import_module(mutant.module)
            except Exception:  # what cannot even be imported, every test finds
                os._exit(1)
        import pytest

        status = pytest.main([*tests, "-q", "-x", "-k", SLOW, "-p", "no:cacheprovider"])
        os._exit(int(status))
    end = time.monotonic() + _WAITS * timeout_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _tree() -> str:
    """Which commit this is, as git names it."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - that of the PATH
        capture_output=True, text=True, check=True,
    ).stdout.strip()


def main() -> int:
    """Run, print what survived, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="mutants, over all rooms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=1, help="of the sample, where an earlier "
                        "run ended (default: %(default)s)")
    parser.add_argument("--timeout-s", type=float, default=600.0,
                        help="processor time of one mutant (default: %(default)s)")
    parser.add_argument("--out", help="write the result as JSON to this file")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    torch.set_num_threads(1)
    files = sorted(
        path for room in TESTS
        for place in (ROOT / PACKAGE / room, ROOT / PACKAGE / f"{room}.py")
        for path in (place.rglob("*.py") if place.is_dir() else [place] if place.exists() else [])
    )
    every = [mutant for path in files for mutant in mutants_of(path)]
    drawn = random.Random(options.seed)  # noqa: S311  a sample, no secret
    chosen = drawn.sample(every, min(options.count, len(every)))
    if not survives(None, ["test/engine/test_layout.py"], options.timeout_s):
        raise SystemExit("error: test/engine/test_layout.py fails with nothing changed: mend that "
                         "first, for every mutant would count as killed")
    survivors: list[dict[str, Any]] = []
    for number, mutant in enumerate(chosen[options.first - 1 :], options.first):
        room = mutant.room.removesuffix(".py")
        tests = [each for each in (*TESTS[room], "test/test_session.py") if Path(each).exists()]
        alive = survives(mutant, tests, options.timeout_s)
        where = f"{mutant.path.relative_to(ROOT)}:{mutant.line}"
        print(f"{number:4}/{len(chosen)} {'SURVIVED' if alive else 'killed  '} {where}  "
              f"{mutant.before!r} -> {mutant.after!r}", flush=True)
        if alive:
            survivors.append({"where": where, "before": mutant.before, "after": mutant.after})
    tried = len(chosen) - options.first + 1
    killed = tried - len(survivors)
    print(f"killed {killed} of {tried}, of {len(every)} mutants in all")
    if options.out:
        record = {
            "command": f"python scripts/mutate.py --count {options.count} --seed {options.seed}",
            "tree": _tree(), "mutants": len(every), "first": options.first, "tried": tried,
            "killed": killed, "survivors": survivors,
        }
        Path(options.out).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
