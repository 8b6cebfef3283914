# SPDX-License-Identifier: Apache-2.0
"""Jobs over a cluster's workers: each once, again after a failure or a death, and no more."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from vla_infoentropy_ros.bench import spreading
from vla_infoentropy_ros.bench.spreading import SpreadError, spread


def work(job: tuple[int, str]) -> int:
    """On a worker. The job's second part: what goes wrong, and a file to count tries in."""
    number, (wrong, _, file) = job[0], job[1].partition(" ")
    if file:
        with Path(file).open("a") as tries:
            tries.write("x")
    if wrong == "dies" or (wrong == "dies-once" and Path(file).read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    if wrong == "raises":
        raise ValueError("in two\nlines")
    return number * number


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0",
                      silence_logs=50) as cluster:
        yield cluster.scheduler_address


def run(scheduler: str, jobs: list[tuple[int, str]]) -> tuple[dict[int, int], str]:
    """Results by number, and what the run ended with."""
    results: dict[int, int] = {}
    try:
        for job, result in spread(scheduler, work, jobs, lambda job: f"job {job[0]}"):
            assert job[0] not in results
            results[job[0]] = result
    except SpreadError as error:
        return results, str(error)
    return results, ""


def test_each_job_is_done_once_and_the_same_again(
    scheduler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [(number, "") for number in range(7)]
    first = run(scheduler, jobs)
    assert first == ({number: number**2 for number in range(7)}, "")
    assert run(scheduler, jobs) == first
    assert capfd.readouterr().err == ""


def test_a_job_whose_worker_dies_is_said_and_tried_once_more(
    scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [(0, ""), (1, f"dies-once {tmp_path / 'tries'}"), (2, ""), (3, "")]
    assert run(scheduler, jobs) == ({0: 0, 1: 1, 2: 4, 3: 9}, "")
    assert (tmp_path / "tries").read_text() == "xx"
    assert capsys.readouterr().err == "job 1: its worker died\n"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("dies", r"its worker died"), ("raises", r"ValueError: in two lines \(worker tcp://.*\)")],
)
def test_a_job_that_fails_twice_ends_the_run_and_loses_nothing(
    scheduler: str, tmp_path: Path, wrong: str, told: str
) -> None:
    tries = tmp_path / "tries"
    jobs = [(0, ""), (1, f"{wrong} {tries}"), *((number, "") for number in range(2, 99))]
    results, ended = run(scheduler, jobs)
    assert tries.read_text() == "xx"
    assert results[0] == 0 and 1 not in results and len(results) < 90
    assert re.fullmatch(f"job 1: {told}; it failed twice. What is finished is kept", ended)


def test_who_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "_PATIENCE_S", 0.2)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        assert f"no worker for 0 s; start some by 'dask worker {address}" in run(
            address, [(0, "")])[1]
    monkeypatch.setattr(spreading, "_ANSWER_S", 1.0)
    assert run("nonsense", []) == ({}, "")  # nothing to do, nobody to ask
    for nobody in ("nonsense", "tcp://127.0.0.1:9"):
        assert run(nobody, [(0, "")])[1].startswith(
            f"--scheduler {nobody}: no scheduler answers there; 'dask scheduler'")


def test_without_the_extra_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        run("tcp://127.0.0.1:9", [(0, "")])
    assert raised.value.name == "distributed"  # of which `extras` makes a sentence


def test_a_scheduler_that_goes_ends_the_run_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "_ANSWER_S", 1.0)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False,
                      dashboard_address=":0", silence_logs=50) as cluster:
        results = spread(cluster.scheduler_address, work, [(3, ""), (4, "")], str)
        assert next(results) == ((3, ""), 9)
        cluster.close()
        with pytest.raises(SpreadError, match=r"has gone\. What is finished is kept"):
            list(results)


def test_a_worker_that_would_play_two_at_a_time_is_refused() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False,
                      dashboard_address=":0", silence_logs=50) as cluster:
        assert "has 2 threads, and plays one at a time: start it with --nthreads 1" in run(
            cluster.scheduler_address, [(0, "")])[1]


def test_a_job_longer_than_a_look_is_waited_for(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.11 what distributed raises then is not the built-in TimeoutError."""
    import distributed

    class OfOldPython(Exception): ...

    wait, looks = distributed.wait, []

    def look(*given: object, **named: object) -> object:
        looks.append(given)
        if len(looks) < 3:
            raise OfOldPython
        return wait(*given, **named)

    monkeypatch.setattr(distributed, "TimeoutError", OfOldPython)
    monkeypatch.setattr(distributed, "wait", look)
    assert run(scheduler, [(3, "")]) == ({3: 9}, "")
