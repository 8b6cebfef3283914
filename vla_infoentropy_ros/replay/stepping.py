# SPDX-License-Identifier: Apache-2.0
"""Step one policy under several selectors through the same frames, and compare what it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.nodes.images import (
    ImageDecoder,
    ImageError,
    check_compressed,
    check_raw,
)
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.recording import (
    EPISODE_END,
    INSTRUCTION,
    RAW,
    Event,
    RecordedAction,
    Recording,
    Window,
)
from vla_infoentropy_ros.replay.types import stamp_ns
from vla_infoentropy_ros.report.statistics import percentiles

AXES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")


@dataclass(frozen=True)
class Frame:
    """images: one (h, w, 3) uint8 RGB per view. stamp_ns: header stamp of the first view, or the
    time of recording where the header holds none. instruction: the last one before it, or "".
    begins: an episode ended since the frame before."""

    stamp_ns: int
    images: tuple[NDArray[np.uint8], ...]
    instruction: str
    begins: bool


def frames(recording: Recording, window: Window) -> Iterator[Frame]:
    """One frame per image of the first camera, in order of recording.

    Further views join with their newest picture; frames before every view has one are left out.
    """
    decoder, latest = ImageDecoder(), dict[int, NDArray[np.uint8]]()
    instruction, begins = "", False
    for event in recording.events(window):
        if event.kind == INSTRUCTION:
            instruction = event.content
        elif event.kind == EPISODE_END:
            begins = True
        else:
            camera = recording.cameras[event.view]
            try:
                latest[event.view] = _decoded(decoder, event)
            except ImageError as error:
                raise BagError(f"image on {camera} in {recording.path}: {error}") from error
            if event.view == 0 and len(latest) == len(recording.cameras):
                images = tuple(latest[view] for view in range(len(latest)))
                taken_ns = stamp_ns(event.content.header.stamp) or event.time_ns
                yield Frame(taken_ns, images, instruction, begins)
                begins = False


def _decoded(decoder: ImageDecoder, event: Event) -> NDArray[np.uint8]:
    if event.kind == RAW:
        check_raw(event.content)
        return decoder.raw(event.content)
    check_compressed(event.content)
    return decoder.compressed(event.content)


class Steppable(Protocol):
    """The part of `vla_infoentropy_ros.session.Session` that replay needs."""

    def set_instruction(self, text: str) -> None: ...
    def reset(self, reason: str) -> None: ...
    def step(self, images: Sequence[NDArray[np.uint8]], stamp_ns: int | None = None) -> Any: ...


@dataclass
class Track:
    """What one selector did, one entry per frame. values: (7,) each, robot units."""

    selector: str
    stamps_ns: list[int] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    invalidated: list[str] = field(default_factory=list)

    def add(self, result: Any, stamp_ns: int) -> None:
        """Append one StepResult."""
        report = result.report
        self.stamps_ns.append(stamp_ns)
        self.values.append(np.asarray(result.action.values, dtype=np.float64))
        self.tokens.append(tuple(result.action.token_ids))
        self.fresh.append(report.fresh)
        self.total.append(report.fresh + report.reused + report.pruned)
        self.latency_ms.append(result.latency_ms)
        self.invalidated.append(result.invalidated)

    def figures(self) -> dict[str, Any]:
        """Latency, tokens and the reasons for full steps."""
        share = [fresh / total for fresh, total in zip(self.fresh, self.total, strict=True)]
        return {
            "latency_ms": percentiles(self.latency_ms),
            "recomputed_fraction": round(float(np.mean(share)), 4) if share else None,
            "full_steps": sum(bool(reason) for reason in self.invalidated),
        }


def step_through(
    frames: Iterable[Frame], sessions: Mapping[str, Steppable], instruction: str = ""
) -> tuple[list[Track], str]:
    """Every session takes every frame, in turn, so that a busy machine slows all alike.

    instruction: used instead of the recorded one. Returns the tracks and the last instruction.
    Raises BagError where a frame comes before any instruction, or there are no frames.
    """
    tracks = {name: Track(name) for name in sessions}
    count, followed = 0, ""
    for frame in frames:
        text = instruction or frame.instruction
        if not text:
            raise BagError("the bag has frames but no instruction before them: give one with "
                           '--instruction "...", or its topic with --instruction-topic')
        followed = text
        for name, session in sessions.items():
            if frame.begins:
                session.reset("new_episode")
            session.set_instruction(text)
            tracks[name].add(session.step(frame.images, frame.stamp_ns), frame.stamp_ns)
        count += 1
    if not count:
        raise BagError("the bag gave no frame: with several views, each needs an image")
    return list(tracks.values()), followed


def difference(ours: Track, base: Track) -> dict[str, Any]:
    """How far the actions are apart, per axis (m, rad, gripper units), and how many are equal."""
    gap = np.abs(np.stack(ours.values) - np.stack(base.values))
    return {
        "steps": int(gap.shape[0]),
        "equal_actions": sum(a == b for a, b in zip(ours.tokens, base.tokens, strict=True)),
        "max": {axis: round(float(v), 6) for axis, v in zip(AXES, gap.max(axis=0), strict=True)},
        "mean": {axis: round(float(v), 6) for axis, v in zip(AXES, gap.mean(axis=0), strict=True)},
    }


def against_recording(track: Track, recorded: Sequence[RecordedAction]) -> dict[str, Any] | None:
    """The same against what the live node did; None where the bag holds no action for a frame."""
    live = {action.stamp_ns: action for action in recorded}
    places = [i for i, stamp in enumerate(track.stamps_ns) if stamp in live]
    if not places:
        return None
    base, ours = Track("recorded"), Track(track.selector)
    for i in places:
        action = live[track.stamps_ns[i]]
        ours.values.append(track.values[i])
        ours.tokens.append(track.tokens[i])
        base.values.append(action.values)
        base.tokens.append(action.token_ids)
    return difference(ours, base)
