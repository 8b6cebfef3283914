# SPDX-License-Identifier: Apache-2.0
"""``python scripts/pages``: renews what the documentation takes from the code and from
docs/results/. ``--check`` writes nothing and names what is out of date."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import commands
import messages
import results

from vla_infoentropy_ros.nodes import parameter_docs

ROOT = Path(__file__).resolve().parents[2]
# Whole pages, and parts between <!-- generated: NAME --> and <!-- end of NAME -->.
PAGES: dict[str, Callable[[], str]] = {
    "docs/parameters.md": parameter_docs.document,
    "docs/messages.md": lambda: messages.document(ROOT),
    "docs/commands.md": commands.document,
}
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"choosing": lambda: results.short_choosing(ROOT)},
    "docs/choosing.md": {"choosing": lambda: results.choosing(ROOT)},
    "docs/libero.md": {"libero": lambda: results.libero(ROOT)},
    "docs/results.md": {"results": lambda: results.document(ROOT)},
}


def renewed() -> dict[str, str]:
    """Every page with generated text, by its path, as it should be."""
    pages = {path: document().strip() + "\n" for path, document in PAGES.items()}
    for path, parts in PARTS.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        for name, document in parts.items():
            marks = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
            between = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.S)
            if not between.search(text):
                raise SystemExit(f"error: {path} has no place for {name}: put {marks[0]} and "
                                 f"{marks[1]} there")
            before, after = between.split(text, 1)
            text = f"{before}{marks[0]}\n{document().strip()}\n{marks[1]}{after}"
        pages[path] = text
    return pages


def main(argv: list[str]) -> int:
    """Write, or with --check compare; 1 where a page is out of date."""
    stale = [path for path, text in renewed().items()
             if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text]
    if argv == ["--check"]:
        if stale:
            print(f"out of date: {', '.join(stale)}; renew: make pages", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).write_text(renewed()[path], encoding="utf-8")
        print(f"renewed {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
