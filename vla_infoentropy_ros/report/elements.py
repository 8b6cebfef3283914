# SPDX-License-Identifier: Apache-2.0
"""Pieces that every page is made of: one file, nothing to fetch, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

from vla_infoentropy_ros.report.overlay import Picture
from vla_infoentropy_ros.report.palette import CATEGORIES, REUSED_INDEX, selector_colour
from vla_infoentropy_ros.report.style import STYLE


def document(title: str, body: str) -> str:
    """The whole page. body: HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def figure(picture: Picture, caption: str, kind: str = "PNG") -> str:
    """A picture with a caption. kind: PNG, or JPEG where there are many."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=kind, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (f'<figure><img alt="{escape(caption)}" src="data:image/{kind.lower()};base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def dot(selector: str) -> str:
    """A selector's colour."""
    return f'<i class="dot" style="background:{selector_colour(selector)}"></i>'


def legend(kinds: Iterable[int]) -> str:
    """What the colours of an overlay mean. kinds: indices into `CATEGORIES`."""
    items = []
    for kind in kinds:
        category = CATEGORIES[kind]
        colour = "#71757e" if kind == REUSED_INDEX else category.hex
        items.append(f'<span><i class="dot" style="background:{colour}"></i>'
                     f"{escape(category.label)}</span>")
    return f'<div class="legend">{"".join(items)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A card with a table; the first cell of each row names a selector and gets its colour."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = ""
    for first, *cells in rows:
        rest = "".join(f"<td>{escape(cell) or '–'}</td>" for cell in cells)
        body += f'<tr><td class="key">{dot(first.split(" ")[0])}{escape(first)}</td>{rest}</tr>'
    return (f'<div class="card"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div></div>")
