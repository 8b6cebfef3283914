# SPDX-License-Identifier: Apache-2.0
"""Foreign text is data: names and messages from files and from the graph, made fit to be shown.

A name may hold what a terminal obeys, or a newline and a log line of its own. Whatever is logged,
raised or published passes through here: by `UserError` and `Fault` of itself, else by a call.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

NAME = 120  # characters of one name or value
MESSAGE = 1500  # characters of a sentence; one lists the keys of a checkpoint's statistics
ENDINGS = " .!?"  # of a sentence, which the words of an instruction are not
_ELLIPSIS = " ... "


class UserError(Exception):
    """An error whose message a person reads: one printable line, whatever was quoted in it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, MESSAGE))


def printable(value: object, most: int = NAME) -> str:
    r"""``value`` as one line of at most ``most`` characters.

    Line ends, terminal escapes, direction overrides and whatever else has no shape of its own are
    written as in a Python literal (``\n``, ``\x1b``, ``\u202e``). A long text loses its middle:
    what is wrong stands in front, the remedy at the end.
    """
    line = _shortened(str(value), most)
    if not line.isprintable():
        line = "".join(c if c.isprintable() else _escaped(c) for c in line)
    return _shortened(line, most)


def shown(value: Any) -> str:
    """A value as Python writes it, for a message."""
    return printable(repr(value))


def one_line(text: object, most: int = 300) -> str:
    """A library's message: its line ends are no data, they become blanks."""
    return printable(" ".join(_shortened(str(text), 10 * most).split()), most)


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """A question for the message about a name that is none of ``known``: "did you mean a or b?";
    "" where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(map(printable, near))}?" if near else ""


def quoted_lines(text: str, most: int = 300) -> str:
    """Several foreign lines, each printable and marked as quoted; for tracebacks and logs."""
    return "\n".join(f"  | {printable(line, most)}" for line in text.splitlines() if line.strip())


def spelled(instruction: str) -> str:
    """The one spelling of an instruction: composed characters, lower case, single blanks, no
    punctuation at its end. Two texts of one spelling are one instruction."""
    words = unicodedata.normalize("NFC", instruction).lower().split()
    return " ".join(words).rstrip(ENDINGS)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = (most - len(_ELLIPSIS)) // 2
    return text[: most - len(_ELLIPSIS) - tail] + _ELLIPSIS + text[len(text) - tail :]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
