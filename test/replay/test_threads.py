# SPDX-License-Identifier: Apache-2.0
"""Reading ahead and writing behind: in order, bounded, and no error or interrupt is lost."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test.replay.making import CASES
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.driving.images import RawPicture
from vla_infoentropy_ros.replay import cli, stepping
from vla_infoentropy_ros.replay.output import ReplayBag
from vla_infoentropy_ros.replay.threads import Ahead, Behind

_PATIENCE_S = 20.0


def counting(read: list[int], enough: threading.Event | None = None) -> Iterator[int]:
    for number in itertools.count():
        read.append(number)
        if enough is not None and number == 2:
            enough.set()
        yield number


def test_it_reads_before_it_is_asked_and_not_without_end() -> None:
    read: list[int] = []
    enough = threading.Event()
    with Ahead(counting(read, enough), room=2) as ahead:
        assert enough.wait(_PATIENCE_S), "two wait and one is in hand"
        assert len(read) == 3
        assert list(itertools.islice(ahead, 5)) == [0, 1, 2, 3, 4]
    assert len(read) <= 9
    assert "replay-ahead" not in {each.name for each in threading.enumerate()}


def test_what_the_source_raises_comes_in_its_place() -> None:
    def cut() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("cut off")

    seen = []
    with pytest.raises(ValueError, match="cut off"), Ahead(cut()) as ahead:
        for number in ahead:
            seen.append(number)
    assert seen == [1, 2]


def test_everything_put_is_taken_in_order_however_the_block_is_left() -> None:
    taken: list[int] = []
    with pytest.raises(KeyboardInterrupt), Behind(taken.append, room=100) as behind:
        for number in range(50):
            behind.put(number)
        raise KeyboardInterrupt
    assert taken == list(range(50))


def test_an_error_ends_what_puts_and_nothing_is_taken_after_it() -> None:
    taken: list[int] = []

    def take(number: int) -> None:
        if number == 3:
            raise OSError("full")
        taken.append(number)

    put = 0
    with pytest.raises(OSError, match="full"), Behind(take, room=2) as behind:
        for put in range(1000):
            behind.put(put)
    assert taken == [0, 1, 2] and put < 1000
    with pytest.raises(OSError, match="full"), Behind(take) as behind:
        behind.put(3)  # nobody puts after it
    with pytest.raises(ValueError, match="mine"), Behind(take) as behind:
        behind.put(3)
        raise ValueError("mine")  # what ended the block is told, not what came of it


def test_a_second_interrupt_does_not_wait_for_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    asked, go = threading.Event(), threading.Event()

    def take(number: int) -> None:
        asked.set()
        go.wait(_PATIENCE_S)
        taken.append(number)

    behind = Behind(take)
    join = behind._thread.join

    def interrupted() -> None:
        monkeypatch.setattr(behind._thread, "join", join)
        assert asked.wait(_PATIENCE_S)
        threading.Timer(0.1, go.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(behind._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt), behind:
        for number in range(5):
            behind.put(number)
    assert taken == [0]


def test_the_policy_does_not_wait_for_the_bag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first moment is written only once the second frame is looked at."""
    monkeypatch.setattr(cli, "load_asked", lambda _: TinyPolicy())
    look, add, looked, in_time = stepping.Replay._look, ReplayBag.add, threading.Semaphore(0), []

    def looking(self: Any, shown: Any) -> Any:
        looked.release()
        return look(self, shown)

    def adding(self: Any, moment: Any) -> None:
        if not in_time:
            in_time.append(looked.acquire(timeout=_PATIENCE_S)
                           and looked.acquire(timeout=_PATIENCE_S))
        add(self, moment)

    monkeypatch.setattr(stepping.Replay, "_look", looking)
    monkeypatch.setattr(ReplayBag, "add", adding)
    arguments = ["--set", "selection.fresh_tokens=4", "--instruction", "red"]
    assert cli.main([str(CASES / "ws.mcap"), *arguments, "--out", str(tmp_path / "out")]) == 0
    assert in_time == [True]


def test_pictures_are_decoded_ahead_but_not_those_that_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "load_asked", lambda _: TinyPolicy())
    rgb, threads = RawPicture.rgb, []

    def decode(self: RawPicture) -> Any:
        threads.append(threading.current_thread().name)
        return rgb(self)

    monkeypatch.setattr(RawPicture, "rgb", decode)
    arguments = ["--set", "selection.fresh_tokens=4", "--instruction", "red", "--every", "2"]
    assert cli.main([str(CASES / "ws.mcap"), "--compare", "dense", *arguments]) == 0
    assert threads == ["replay-ahead"] * 3
