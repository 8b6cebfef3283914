# SPDX-License-Identifier: Apache-2.0
"""Jobs over the machines of a dask.distributed scheduler, with the accounting of a run on one.

A worker plays one job at a time. A job that fails, or whose worker dies, is said and tried once
more; one that failed twice ends the run when all that is being played has ended. Results are
handed over as they come, so none of them is lost with what fails later.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from vla_infoentropy_ros.extras import missing
from vla_infoentropy_ros.foreign.digest import PREFIX
from vla_infoentropy_ros.foreign.text import UserError, one_line

J = TypeVar("J")
R = TypeVar("R")

_ANSWER_S = 10.0  # for a scheduler to answer
_PATIENCE_S = 120.0  # with a scheduler that has no worker
_LOOK_S = 5.0  # how often workers are counted while all are busy


class SpreadError(UserError, RuntimeError):
    """No scheduler or no worker, or a job that failed twice."""


def spread(
    scheduler: str, work: Callable[[J], R], jobs: Sequence[J], name: Callable[[J], str]
) -> Iterator[tuple[J, R]]:
    """Each job and what ``work`` gave for it, in the order in which they end.

    scheduler: tcp://host:port. work: a function of a module that the workers can import; what it
    raises is a failure. name: of a job, for what is said of it. Jobs are begun in their order.
    Raises SpreadError; what is being played is then given up, but for a job that failed twice.
    """
    if not jobs:
        return
    with _connected(scheduler) as client:
        begun = _Begun(client, work, jobs, name)
        while begun.fill(_workers(client, scheduler)):
            yield from begun.ended()
    if begun.broken:
        raise SpreadError(f"{begun.broken}; it failed twice. What is finished is kept")


class _Begun:
    """The jobs that are being played: never more than there are workers, since all that wait at a
    worker would fail with it."""

    def __init__(self, client: Any, work: Callable[[J], R], jobs: Sequence[J],
                 name: Callable[[J], str]) -> None:
        self.client, self.work, self.name = client, work, name
        self.first = ((job, 1) for job in jobs)
        self.again: deque[tuple[Any, int]] = deque()
        self.running: dict[Any, tuple[Any, int]] = {}
        self.broken = ""  # by which job, and how

    def fill(self, workers: int) -> int:
        """Begin what there is room for; how many are being played then."""
        room = 0 if self.broken else max(workers - len(self.running), 0)
        failed = (self.again.popleft() for _ in range(len(self.again)))
        for job, tries in islice(chain(failed, self.first), room):
            # Packed, since the scheduler opens what it passes on and need not have this package.
            future = self.client.submit(
                lambda packed: pickle.loads(packed)(),  # noqa: S301 - what the next line packs
                pickle.dumps(partial(_attempt, self.work, job)), pure=False,
            )
            self.running[future] = job, tries
        return len(self.running)

    def ended(self) -> Iterator[tuple[Any, Any]]:
        """Those that end within a while, and went well."""
        from distributed import wait

        try:
            ended = wait(list(self.running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
        except _gave_up():
            return
        for future in ended:
            job, tries = self.running.pop(future)
            if future.status == "finished":
                yield job, future.result()
                continue
            said = f"{self.name(job)}: {_told(future.exception())}"
            print(said, file=sys.stderr, flush=True)
            if tries == 1:
                self.again.append((job, 2))
            else:
                self.broken = self.broken or said


def _attempt(work: Callable[[J], R], job: J) -> R:
    """On a worker. The scheduler gives the jobs of a dead worker to the next, as often as it is
    set to; how often a job is tried is for `spread` to say."""
    from distributed import Client, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    with Client(worker.scheduler.address, security=worker.security,
                set_as_default=False) as client:
        died = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.tasks[key].suspicious)
    if died:
        raise SpreadError("its worker died")
    if worker.state.nthreads != 1:
        raise SpreadError(f"worker {worker.address} has {worker.state.nthreads} threads, and plays "
                          "one at a time: start it with --nthreads 1")
    try:
        return work(job)
    except Exception as error:
        raise SpreadError(f"{_told(error)} (worker {worker.address})") from error


def _told(error: BaseException) -> str:
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return "its worker died"
    if isinstance(error, ModuleNotFoundError):
        return missing(error)
    return str(error) if isinstance(error, UserError) else one_line(
        f"{type(error).__name__}: {error}")


def _gave_up() -> tuple[type[BaseException], ...]:
    """What distributed raises after a time-out: before Python 3.11 it is not the built-in one."""
    import distributed

    return TimeoutError, distributed.TimeoutError


def _workers(client: Any, scheduler: str) -> int:
    """How many there are; waits a while for the first. Raises SpreadError without any."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
    except _gave_up() as error:
        raise SpreadError(f"--scheduler {scheduler}: no worker for {_PATIENCE_S:.0f} s; start some "
                          f"by 'dask worker {scheduler} --nthreads 1'") from error
    return len(client.nthreads())


def pin_of(revision: str) -> str:
    """``revision`` of a policy, where other machines can load the same bytes by it or refuse; else
    "", no pin."""
    return revision if revision.startswith(PREFIX) else ""


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    from distributed import CancelledError, Client

    for name in ("distributed", "distributed.client"):  # what matters of it is said here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=_ANSWER_S)
    except (OSError, ValueError, TypeError) as error:
        raise SpreadError(f"--scheduler {scheduler}: no scheduler answers there; 'dask scheduler' "
                          "starts one and says its tcp://host:port") from error
    try:
        yield client
    except (CancelledError, OSError) as error:
        raise SpreadError(f"the scheduler at {scheduler} has gone. What is finished is kept, the "
                          "same command goes on") from error
    finally:
        client.close(timeout=1)
