# SPDX-License-Identifier: Apache-2.0
"""The episodes: every selector on every seed, in turn, with a live line of results.

Brings rclpy with it, so it is imported when it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tqdm import tqdm

from vla_infoentropy_ros.demo.observer import EpisodeObserver
from vla_infoentropy_ros.demo.recording import Recording
from vla_infoentropy_ros.nodes.clients.episode_client import (
    POLICY,
    EpisodeClient,
    GraphError,
)
from vla_infoentropy_ros.nodes.clients.episode_recorder import EpisodeRecorder
from vla_infoentropy_ros.replay.bag_writer import RawMessage
from vla_infoentropy_ros.report.records import EpisodeRecord, ShownEpisode
from vla_infoentropy_ros.report.statistics import latencies

_STALL_S = 45.0
_MOST_FAULTS = 3
_SHORT = {"info_entropy": "info", "attention_drift": "drift", "attention_drift+window": "+window"}


@dataclass
class Measured:
    """Results so far. recorded: the raw messages of each shown episode, by selector."""

    episodes: list[EpisodeRecord] = field(default_factory=list)
    shown: list[ShownEpisode] = field(default_factory=list)
    recorded: dict[str, list[RawMessage]] = field(default_factory=dict)


def measure(client: EpisodeClient, selectors: Sequence[str], seeds: Sequence[int]) -> Measured:
    """First one recorded episode per selector, then the measured ones.

    The recorded round also warms everything up; it counts nowhere, so recording costs no
    latency. The pictures then get the latencies of the measured episode of the same seed. Within a
    seed the order of the selectors rotates: none always goes first.
    """
    measured = Measured()
    faults = 0
    with tqdm(
        total=len(selectors) * (len(seeds) + 1), unit="ep", file=sys.stderr, dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        bar_format="{percentage:3.0f}%|{bar:12}|{n}/{total} [{elapsed}<{remaining}]{postfix}",
    ) as bar:
        bar.set_postfix_str("recording one episode each", refresh=True)
        for selector in selectors:
            recording = Recording()
            with EpisodeRecorder(client, recording.keep):
                episode = run_episode(client, selector, seeds[0])
            measured.shown.append(recording.shown(episode))
            measured.recorded[selector] = recording.messages
            bar.update()
        for index, seed in enumerate(seeds):
            for place in range(len(selectors)):
                selector = selectors[(index + place) % len(selectors)]
                episode = run_episode(client, selector, seed)
                faults = faults + 1 if faulty(episode) else 0
                if faults >= _MOST_FAULTS:
                    raise GraphError(f"{faults} episodes in a row could not be run; the last: "
                                     f"{episode.reason}")
                if faulty(episode):
                    tqdm.write(f"seed {seed}, {selector}: {episode.reason}", file=sys.stderr)
                    client.clear_fault()
                measured.episodes.append(episode)
                bar.set_postfix_str(_live(measured.episodes, selectors), refresh=False)
                bar.update()
    measured.shown = [timed_as_measured(shown, measured.episodes) for shown in measured.shown]
    return measured


def timed_as_measured(shown: ShownEpisode, episodes: Sequence[EpisodeRecord]) -> ShownEpisode:
    """The shown episode with the latencies of its measured twin, if that took the same steps."""
    ours = shown.episode
    twin = next(
        (e for e in episodes if (e.selector, e.seed) == (ours.selector, ours.seed)), None
    )
    if twin is None or [r.fresh for r in twin.records] != [r.fresh for r in ours.records]:
        return shown
    by_step = {record.t: record for record in twin.records}
    steps = tuple(replace(step, record=by_step[step.record.t]) for step in shown.steps)
    return replace(shown, episode=twin, steps=steps)


def run_episode(client: EpisodeClient, selector: str, seed: int) -> EpisodeRecord:
    """One episode of one selector, or variant such as ``attention_drift+window``."""
    client.set_parameters(POLICY, {"selector": selector})
    client.set_parameters(client.sim, {"seed": seed})
    observer = EpisodeObserver(selector, seed)
    client.run_episode(observer, _STALL_S)
    return observer.record()


def faulty(episode: EpisodeRecord) -> bool:
    """Ended by something else than the task: a fault of the policy, a time-out, a stop."""
    return not episode.success and not episode.reason.startswith("step_limit")


def _live(episodes: Sequence[EpisodeRecord], selectors: Sequence[str]) -> str:
    """``dense 3/3 38 ms`` for each selector."""
    told = []
    for selector in selectors:
        ours = [episode for episode in episodes if episode.selector == selector]
        times = latencies(ours)
        if times:
            won = sum(episode.success for episode in ours)
            told.append(f"{_SHORT.get(selector, selector)} {won}/{len(ours)} "
                        f"{np.median(times):.0f} ms")
    return "  ".join(told)
