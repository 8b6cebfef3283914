# SPDX-License-Identifier: Apache-2.0
"""``$(var x)`` and the other substitutions of launch files."""

from __future__ import annotations

import ast
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..share import PACKAGE, share_directory
from .xml_tree import Element

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "bool": bool,
    "float": float,
    "int": int,
    "len": len,
    "max": max,
    "min": min,
    "round": round,
    "str": str,
}


@dataclass
class Scope:
    """What substitutions can see."""

    variables: Mapping[str, str]
    environment: Mapping[str, str]


def evaluate(text: str, scope: Scope, element: Element) -> str:
    """Return ``text`` with all substitutions carried out."""
    result, end = _text(text, 0, scope, element, inside=False)
    assert end == len(text)
    return result


def condition(text: str, scope: Scope, element: Element) -> bool:
    """Evaluate the text of an ``if`` or ``unless``."""
    value = evaluate(text, scope, element).strip().lower()
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise element.error(f"has the condition {text!r}, which gives {value!r}; use true or false.")


def _text(
    text: str, position: int, scope: Scope, element: Element, inside: bool
) -> tuple[str, int]:
    """Evaluate up to the end, or inside of a substitution up to a space or ``)``."""
    parts: list[str] = []
    quote = ""
    while position < len(text):
        char = text[position]
        if char == "\\" and text[position + 1 : position + 2] in ("$", "\\", "'", '"'):
            parts.append(text[position + 1])
            position += 2
        elif text.startswith("$(", position):
            value, position = _substitution(text, position + 2, scope, element)
            parts.append(value)
        elif inside and quote:
            position += 1
            if char == quote:
                quote = ""
            else:
                parts.append(char)
        elif inside and char in "'\"":
            quote = char
            position += 1
        elif inside and (char == ")" or char.isspace()):
            break
        else:
            parts.append(char)
            position += 1
    if quote:
        raise element.error(f"has an unclosed {quote} in {text!r}.")
    return "".join(parts), position


def _substitution(text: str, position: int, scope: Scope, element: Element) -> tuple[str, int]:
    """Evaluate one substitution; ``position`` is behind its ``$(``."""
    words: list[str] = []
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position >= len(text):
            raise element.error(f"has an unclosed $( in {text!r}.")
        if text[position] == ")":
            break
        word, position = _text(text, position, scope, element, inside=True)
        words.append(word)
    if not words:
        raise element.error(f"has an empty $() in {text!r}.")
    name, *arguments = words
    if name not in _KNOWN:
        raise element.error(
            f"uses $({name} ...), which this runner does not support. "
            f"Supported: {', '.join(sorted(_KNOWN))}"
        )
    low, high, function = _KNOWN[name]
    if not low <= len(arguments) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise element.error(f"$({name} ...) takes {wanted} arguments, not {len(arguments)}.")
    return function(scope, element, *arguments), position + 1


def _var(scope: Scope, element: Element, name: str, default: str | None = None) -> str:
    value = scope.variables.get(name, default)
    if value is None:
        raise element.error(
            f"uses $(var {name}), but no <arg> or <let> above it defines '{name}'. "
            f"Defined: {', '.join(scope.variables) or 'none'}"
        )
    return value


def _env(scope: Scope, element: Element, name: str, default: str | None = None) -> str:
    value = scope.environment.get(name, default)
    if value is None:
        raise element.error(
            f"uses $(env {name}), but the environment variable is not set. "
            f"Set it, or give a default: $(env {name} VALUE)"
        )
    return value


def _find_pkg_share(scope: Scope, element: Element, package: str) -> str:
    if package != PACKAGE:
        raise element.error(
            f"asks for package '{package}'. Without ROS 2 only {PACKAGE} can be found; "
            "source ROS 2 and use ros2 launch."
        )
    return str(share_directory())


def _eval(scope: Scope, element: Element, *words: str) -> str:
    expression = " ".join(words)
    try:
        return str(_value(ast.parse(expression.strip(), mode="eval").body))
    except Exception as error:
        raise element.error(f"$(eval {expression!r}) failed: {error}") from error


def _value(node: ast.AST) -> Any:
    """Value of an expression without names, attributes or side effects."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id.lower() in ("true", "false"):
        return node.id.lower() == "true"
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.BoolOp):
        values = [_value(item) for item in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare) and all(type(op) in _BINARY for op in node.ops):
        values = [_value(item) for item in (node.left, *node.comparators)]
        pairs = zip(node.ops, values, values[1:], strict=False)
        return all(_BINARY[type(op)](left, right) for op, left, right in pairs)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test) else node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id)
        if function is not None:
            return function(*(_value(item) for item in node.args))
    raise ValueError(
        f"{ast.unparse(node)!r} is not allowed. Allowed: literals, arithmetic, comparisons, "
        f"and/or/not, if/else, {', '.join(_FUNCTIONS)}. Put quotes around text."
    )


def _truth(element: Element, text: str) -> bool:
    if text.lower() not in ("true", "1", "false", "0"):
        raise element.error(f"needs true or false, not {text!r}.")
    return text.lower() in ("true", "1")


def _bool(value: bool) -> str:
    return "true" if value else "false"


_MANY = 99
# name: (fewest arguments, most arguments, function)
_KNOWN: dict[str, tuple[int, int, Callable[..., str]]] = {
    "var": (1, 2, _var),
    "env": (1, 2, _env),
    "optenv": (1, 2, lambda scope, element, name, default="": _env(scope, element, name, default)),
    "find-pkg-share": (1, 1, _find_pkg_share),
    "dirname": (0, 0, lambda scope, element: str(Path(element.path).resolve().parent)),
    "filename": (0, 0, lambda scope, element: str(Path(element.path).resolve())),
    "eval": (1, _MANY, _eval),
    "not": (1, 1, lambda scope, element, a: _bool(not _truth(element, a))),
    "and": (2, 2, lambda s, element, a, b: _bool(_truth(element, a) and _truth(element, b))),
    "or": (2, 2, lambda s, element, a, b: _bool(_truth(element, a) or _truth(element, b))),
    "equals": (2, 2, lambda scope, element, a, b: _bool(a == b)),
    "not-equals": (2, 2, lambda scope, element, a, b: _bool(a != b)),
}


def process_environment() -> dict[str, str]:
    """Copy of the environment that a launch starts with."""
    return dict(os.environ)
