# SPDX-License-Identifier: Apache-2.0
"""Messages to records, with the disorder that a graph allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vla_infoentropy_ros.demo.observer import EpisodeObserver
from vla_infoentropy_ros.report.records import STAGES


def _status(steps: int, selector: str = "dense", latency: float = 20.0) -> Any:
    stages = {f"{stage}_ms": latency / 5 for stage in STAGES}
    return SimpleNamespace(steps=steps, selector=selector, latency_ms=latency, flops=10**9,
                           invalidated="", image_to_command_ms=latency + 1, decoder_passes=7,
                           **stages)


def _selection(step: int, selector: str = "dense", **more: Any) -> Any:
    given = {"alpha": 0.0, "k_visual": 0, "k_attention": 0, "reasons": bytes(256), "fresh": 32,
             "reused": 224, "pruned": 0} | more
    return SimpleNamespace(step=step, selector=selector, **given)


def _result(seed: int = 7, steps: int = 2, **more: Any) -> Any:
    given = {"success": True, "reason": "success", "detail": "", "instruction": "do it",
             "command_latency_ms": [25.0] * steps} | more
    return SimpleNamespace(seed=seed, steps=steps, **given)


def test_steps_become_records_in_order() -> None:
    observer = EpisodeObserver("dense", 7)
    for t in range(2):
        observer.selection(_selection(t, alpha=0.5, k_visual=50, k_attention=50))
        observer.status(_status(t + 1, latency=10.0 + t))
    assert not observer.complete
    observer.episode(_result())
    assert observer.complete
    record = observer.record()
    assert [r.t for r in record.records] == [0, 1]
    assert record.records[1].latency_ms == 11.0
    assert record.records[1].k_visual == 50
    assert record.records[0].reasons.shape == (256,)
    assert record.success and record.reason == "success"
    assert record.command_latency_ms == (25.0, 25.0)


def test_late_messages_of_the_last_episode_do_not_count() -> None:
    observer = EpisodeObserver("dense", 7)
    observer.status(_status(21))  # the once-a-second repetition
    observer.selection(_selection(20))
    observer.status(_status(0))
    observer.status(_status(1, selector="info_entropy"))
    assert observer.steps == 0
    observer.episode(_result(seed=6))
    assert observer.result is None


def test_repeated_and_lost_statuses() -> None:
    observer = EpisodeObserver("dense", 7)
    for steps in (1, 1, 3, 2):
        observer.status(_status(steps))
    observer.selection(_selection(0))
    observer.episode(_result(steps=3))
    assert not observer.complete
    record = observer.record()
    assert [r.t for r in record.records] == [0, 2]
    assert record.records[1].reasons.size == 0
    assert np.isnan(record.records[0].k_visual), "no schedule, no budget"


def test_a_fault_before_the_first_step_is_an_outcome() -> None:
    observer = EpisodeObserver("dense", 7)
    observer.episode(_result(steps=0, success=False, reason="policy_fault", detail="too late"))
    assert observer.complete
    record = observer.record()
    assert record.reason == "policy_fault: too late"
    assert record.records == ()


@pytest.mark.parametrize("field", ["latency_ms", "image_to_command_ms"])
def test_latency_is_taken_from_the_status(field: str) -> None:
    observer = EpisodeObserver("dense", 7)
    observer.status(_status(1, latency=33.0))
    observer.episode(_result(steps=1))
    assert getattr(observer.record().records[0], field) >= 33.0
