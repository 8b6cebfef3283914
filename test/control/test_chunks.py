# SPDX-License-Identifier: Apache-2.0
"""Chunks on a clock that is handed in: no thread, no waiting."""

from __future__ import annotations

import numpy as np
import pytest

from vla_infoentropy_ros.control.chunks import Chunk, ChunkExecutor

PERIOD_S = 0.2


def chunk(observed_s: float, first: int = 0, horizon: int = 4) -> Chunk:
    """Row k holds the number ``first`` + k."""
    rows = np.repeat(np.arange(first, first + horizon, dtype=float)[:, None], 7, axis=1)
    return Chunk(rows, observed_s, PERIOD_S)


def played(executor: ChunkExecutor, until_s: float, execute: int, since_s: float = 0.0) -> dict:
    """What becomes due at a command rate of 50 Hz: time to number."""
    given = {}
    for tick in range(round(since_s * 50), round(until_s * 50) + 1):
        action = executor.due(tick / 50, execute)
        if action is not None:
            given[tick / 50] = action[0]
    return given


def test_each_action_has_its_time_and_the_rest_of_the_chunk_is_not_carried_out() -> None:
    executor = ChunkExecutor()
    assert executor.put(chunk(0.0), 0.0, 3, 0.0) == 0
    assert played(executor, 2.0, 3) == {0.0: 0, 0.2: 1, 0.4: 2}


def test_actions_whose_time_has_passed_are_skipped() -> None:
    executor = ChunkExecutor()
    assert executor.put(chunk(-0.3), 0.0, 2, 0.0) == 1
    assert played(executor, 2.0, 2) == {0.0: 1, 0.1: 2}
    late = ChunkExecutor()
    assert late.put(chunk(-0.8), 0.0, 4, 0.0) is None, "its last action ended"
    assert played(late, 1.0, 4) == {}


def test_a_single_action_is_never_late() -> None:
    executor = ChunkExecutor()
    assert executor.put(chunk(-5.0, horizon=1), 0.0, 1, 0.0) == 0
    assert played(executor, 1.0, 1) == {0.0: 0}


def test_the_next_chunk_waits_for_its_turn_and_goes_on_at_the_same_time() -> None:
    executor = ChunkExecutor()
    executor.put(chunk(0.0), 0.0, 2, 0.0)
    assert executor.due(0.0, 2) is not None
    executor.put(chunk(0.2, first=10), 0.26, 2, 0.0)  # seen at 0.2, ready at 0.26
    assert played(executor, 2.0, 2, 0.02) == {0.2: 1, 0.4: 11, 0.6: 12}


def test_one_action_a_chunk_takes_over_at_once() -> None:
    executor = ChunkExecutor()
    executor.put(chunk(0.0), 0.0, 1, 0.0)
    assert executor.due(0.0, 1) is not None
    executor.put(chunk(0.05, first=10), 0.1, 1, 0.0)
    assert played(executor, 2.0, 1, 0.1) == {0.1: 10}


def test_a_chunk_is_wanted_in_time_for_its_turn() -> None:
    executor = ChunkExecutor()
    assert executor.wants(0.0, 0.0), "there is none"
    executor.put(chunk(0.0), 0.0, 2, 0.0)
    assert executor.due(0.0, 2) is not None
    assert not executor.wants(0.1, 0.26) and executor.wants(0.14, 0.26)
    executor.put(chunk(0.2), 0.3, 2, 0.0)
    assert not executor.wants(0.38, 0.26), "one waits already"
    executor.due(0.4, 2)
    assert not executor.wants(0.5, 0.26) and executor.wants(0.7, 0.26)


def test_blending_moves_towards_what_was_planned_for_the_same_time_but_not_the_gripper() -> None:
    old, new = chunk(0.0, first=0), chunk(0.41, first=100)
    blended = new.blended(old, 0.25)
    # Rows 0 and 1 have rows 2 and 3 of the old one in their middle, rows 2 and 3 nothing.
    assert blended.rows[:, 0].tolist() == [100 - 0.25 * 98, 101 - 0.25 * 98, 102, 103]
    assert blended.rows[:, 6].tolist() == [100, 101, 102, 103]
    assert new.rows[0, 0] == 100


def test_what_was_blended_is_what_is_carried_out() -> None:
    executor = ChunkExecutor()
    executor.put(chunk(0.0), 0.0, 1, 0.5)
    assert executor.due(0.0, 1) is not None
    executor.put(chunk(0.2, first=11), 0.2, 1, 0.5)
    action = executor.due(0.2, 1)
    assert action is not None and action[0] == 6 and action[6] == 11


def test_nothing_is_due_after_clearing() -> None:
    executor = ChunkExecutor()
    executor.put(chunk(0.0), 0.0, 4, 0.0)
    executor.put(chunk(0.1), 0.1, 4, 0.0)
    executor.clear()
    assert played(executor, 2.0, 4) == {}
    assert executor.observed_s == pytest.approx(np.inf)
