# SPDX-License-Identifier: Apache-2.0
"""The frames of the overlay video: up to three runs of one seed side by side, step by step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vla_infoentropy_ros.report.overlay import Picture, token_overlay
from vla_infoentropy_ros.report.palette import (
    CATEGORIES,
    REUSED_INDEX,
    category_counts,
    selector_colour,
)
from vla_infoentropy_ros.report.records import ShownEpisode, ShownStep

WIDTH, HEIGHT = 1280, 720
_PANEL = 384
_TOP = 118
_BACKGROUND = (15, 18, 25)
_INK, _QUIET, _LINE = (236, 240, 246), (150, 160, 176), (44, 51, 64)
_LAST_HOLD = 8  # frames that the end stands still


@functools.cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font that ships with Pillow: no font file of the machine is needed."""
    return ImageFont.load_default(size)


def overlay_frames(shown: Sequence[ShownEpisode]) -> Iterator[Picture]:
    """Frames (HEIGHT, WIDTH, 3) uint8; runs that end sooner keep their last picture.

    A step without a selection shows the camera, one whose latency is NaN no milliseconds.
    """
    shown = [episode for episode in shown if episode.steps][:3]
    if not shown:
        return
    length = max(len(episode.steps) for episode in shown)
    # Medians, not the slowest step: one hiccup must not shrink every bar to nothing.
    scale = 1.5 * max(float(np.median([s.record.latency_ms for s in e.steps])) for e in shown)
    present = _present_categories(shown)
    for index in range(length + _LAST_HOLD):
        image = Image.new("RGB", (WIDTH, HEIGHT), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        _header(draw, shown[0])
        gap = (WIDTH - _PANEL * len(shown)) // (len(shown) + 1)
        for place, episode in enumerate(shown):
            left = gap + place * (_PANEL + gap)
            _panel(image, draw, episode, index, left, scale)
        _legend(draw, present)
        yield np.asarray(image)


def _header(draw: ImageDraw.ImageDraw, episode: ShownEpisode) -> None:
    task = episode.episode
    draw.text((32, 24), f"\u201c{task.instruction}\u201d", font=font(28), fill=_INK)
    draw.text((WIDTH - 32, 28), f"seed {task.seed}", font=font(18), fill=_QUIET, anchor="ra")
    draw.text((32, 62), "Colour: recomputed in this step.   Grey: keys and values reused from "
              "the step before.", font=font(16), fill=_QUIET)


def _panel(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    shown: ShownEpisode,
    index: int,
    left: int,
    scale: float,
) -> None:
    ended = index >= len(shown.steps)
    step = shown.steps[min(index, len(shown.steps) - 1)]
    record, run = step.record, shown.episode
    tint = selector_colour(run.selector)
    draw.rectangle((left, _TOP - 24, left + 10, _TOP - 8), fill=tint)
    draw.text((left + 18, _TOP - 6), run.selector, font=font(20), fill=_INK, anchor="ls")
    draw.text((left + _PANEL, _TOP - 6), f"step {record.t}", font=font(16), fill=_QUIET,
              anchor="rs")
    tokens = shown.grid[0] * shown.grid[1]
    image.paste(Image.fromarray(_picture(step, shown.grid)), (left, _TOP))
    if ended:
        _badge(draw, left, run.success, run.steps)
    under = _TOP + _PANEL + 26
    share = record.fresh / max(1, record.tokens)
    if record.tokens:
        draw.text((left, under), f"{record.fresh} of {record.tokens} tokens fresh "
                  f"({share:.0%})", font=font(17), fill=_INK, anchor="ls")
    if not math.isnan(record.latency_ms):
        draw.text((left + _PANEL, under), f"{record.latency_ms:.1f} ms", font=font(20), fill=_INK,
                  anchor="rs")
        width = int(_PANEL * min(1.0, record.latency_ms / max(scale, 1e-6)))
        draw.rectangle((left, under + 9, left + _PANEL, under + 15), fill=_LINE)
        draw.rectangle((left, under + 9, left + width, under + 15), fill=tint)
    _history(draw, shown, min(index, len(shown.steps) - 1), left, under + 26, tokens)


def _picture(step: ShownStep, grid: tuple[int, int]) -> Picture:
    tokens = grid[0] * grid[1]
    if step.record.reasons.size < tokens:  # a step whose selection never arrived
        return np.asarray(Image.fromarray(step.image).resize((_PANEL, _PANEL)))
    return token_overlay(step.image, step.record.reasons[:tokens], grid, _PANEL)


def _badge(draw: ImageDraw.ImageDraw, left: int, success: bool, steps: int) -> None:
    text = f"success in {steps} steps" if success else f"failed after {steps} steps"
    fill = (21, 128, 61) if success else (185, 28, 28)
    width = int(draw.textlength(text, font=font(18))) + 24
    middle = left + _PANEL // 2
    draw.rounded_rectangle((middle - width // 2, _TOP + 12, middle + width // 2, _TOP + 44), 8,
                           fill=fill)
    draw.text((middle, _TOP + 28), text, font=font(18), fill=(255, 255, 255), anchor="mm")


def _history(
    draw: ImageDraw.ImageDraw, shown: ShownEpisode, now: int, left: int, top: int, tokens: int
) -> None:
    """One column per step so far, its height the share of fresh tokens, split by reason."""
    height, columns = 64, max(24, len(shown.steps))
    pitch = _PANEL / columns
    draw.line((left, top + height, left + _PANEL, top + height), fill=_LINE)
    for index in range(now + 1):
        reasons = shown.steps[index].record.reasons
        if not reasons.size:
            continue
        base = float(top + height)
        right = left + (index + 1) * pitch - 2
        for kind, count in enumerate(category_counts(reasons)):
            if kind != REUSED_INDEX and count:
                rise = height * count / max(tokens, reasons.size)
                upper = base - rise
                draw.rectangle((left + index * pitch, upper, right, max(upper, base - 1)),
                               fill=CATEGORIES[kind].colour)
                base = upper


def _legend(draw: ImageDraw.ImageDraw, present: Sequence[int]) -> None:
    left = 32.0
    for kind in present:
        category = CATEGORIES[kind]
        fill = (70, 74, 84) if kind == REUSED_INDEX else category.colour
        draw.rectangle((left, HEIGHT - 72, left + 16, HEIGHT - 56), fill=fill)
        draw.text((left + 24, HEIGHT - 64), category.label, font=font(16), fill=_INK, anchor="lm")
        left += 24 + draw.textlength(category.label, font=font(16)) + 30


def _present_categories(shown: Sequence[ShownEpisode]) -> list[int]:
    total = np.zeros(len(CATEGORIES), dtype=int)
    for episode in shown:
        for step in episode.steps:
            total += np.array(category_counts(step.record.reasons))
    return [int(kind) for kind in np.flatnonzero(total)]
