# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind, in plain values: the one input of statistics, charts and overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STAGES = ("preprocess", "vision", "select", "prefill", "decode")
"""Parts of a policy step, in the order in which they run."""


@dataclass(frozen=True)
class StepRecord:
    """One policy step as the node reported it.

    t: policy steps since the episode began, 0 first. latency_ms: the whole step on the policy
    node's monotonic clock; stages_ms: its parts (`STAGES`). reasons: (N,) uint8 bit mask per
    visual token (`selection.reasons`), N = views * rows * cols; empty where no selection arrived.
    flops: 2 x multiply-accumulates of vision and language model. invalidated: why nothing was
    reused, "" where something was. k_visual, k_attention, alpha: position of the schedule, NaN
    where the selector has none. image_to_command_ms: arrival of the image at the policy node to
    its command, queue and conversion included. decoder_passes: forwards of the language model.
    """

    t: int
    latency_ms: float
    stages_ms: Mapping[str, float]
    reasons: NDArray[np.uint8]
    flops: float = float("nan")
    invalidated: str = ""
    alpha: float = float("nan")
    k_visual: float = float("nan")
    k_attention: float = float("nan")
    fresh: int = 0
    reused: int = 0
    pruned: int = 0
    image_to_command_ms: float = float("nan")
    decoder_passes: float = float("nan")

    @property
    def tokens(self) -> int:
        """N, where the selection arrived; else 0."""
        return self.fresh + self.reused + self.pruned


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode. command_latency_ms: from each camera frame published to its command received,
    on the robot's side of the graph; empty where it was not measured."""

    selector: str
    seed: int
    instruction: str
    success: bool
    steps: int
    reason: str
    records: tuple[StepRecord, ...]
    command_latency_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class ShownStep:
    """A step with the picture it was made from: (H, W, 3) uint8 RGB, as the tower sees it."""

    record: StepRecord
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class ShownEpisode:
    """An episode with its pictures, for the overlay video and the sample frames."""

    episode: EpisodeRecord
    steps: tuple[ShownStep, ...]
    grid: tuple[int, int]


@dataclass(frozen=True)
class RunRecord:
    """Everything that `make demo` measured.

    middleware: ``rclpy``; what carries it is in ``versions``. selectors: in the order of the
    tables; ``dense`` first where it ran. episodes: the measured ones. shown: recorded apart
    from the measurement.
    hardware, versions: for the reader of the figures; notes: what else must be said about them.
    """

    middleware: str
    selectors: tuple[str, ...]
    seeds: tuple[int, ...]
    episodes: tuple[EpisodeRecord, ...]
    shown: tuple[ShownEpisode, ...] = ()
    policy: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str | int | float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str | int | float]] = field(default_factory=dict)
    duration_s: float = float("nan")
    notes: Sequence[str] = ()

    def of(self, selector: str) -> list[EpisodeRecord]:
        """The measured episodes of one selector, in the order they ran."""
        return [episode for episode in self.episodes if episode.selector == selector]
