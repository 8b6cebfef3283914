# SPDX-License-Identifier: Apache-2.0
"""Success on LIBERO of every selector, on the benchmark's own initial states, with controls.

The simulator runs in an environment of its own (see ``make libero``); each row is a server of this
package and workers that play against it. Every finished episode is kept in ``--out``: the same
command goes on where a run was cut off, prints the table of what is there and makes a page of it,
with a video of the first episode of each task. Rows take turns, so
that a run that was cut off leaves rows that can be paired. With ``--scheduler`` the workers of a
dask.distributed cluster play one episode after the other, each with a server of its own, and what
they leave is kept here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import NamedTuple

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.bench.episodes import named
from vla_infoentropy_ros.bench.libero_rows import DEFAULT, ROWS, row_of
from vla_infoentropy_ros.bench.libero_table import Key, figures_of, pairing, show
from vla_infoentropy_ros.bench.spreading import pin_of, spread
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.launch_runner.guardian import die_with_parent
from vla_infoentropy_ros.libero.play import Outcome, finished, seed_of
from vla_infoentropy_ros.libero.suites import STEP_LIMITS
from vla_infoentropy_ros.models.load_options import LoadOptions, add_load_arguments
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.report.libero_page import libero_page
from vla_infoentropy_ros.report.machine import hardware, versions
from vla_infoentropy_ros.serve.access import TOKEN_VARIABLE

ROOT = Path(__file__).parents[2]
INITIAL_STATES = 50  # of each task
SIMULATOR = Path(".venv-libero/bin/python")
_STALLED_S = 1800.0  # an episode takes two minutes on a busy core
_ADDRESS = re.compile(r"vla-eval on (\S+:\d+)\n")  # what `serve` says when it answers


class BenchError(UserError, RuntimeError):
    """A run that cannot begin, or a task that failed twice."""


def main(argv: Sequence[str]) -> int:
    """Play what is missing, print the table and write it. Raises UserError, OSError."""
    options = _parser().parse_args(argv)
    rows = options.rows or list(ROWS)
    if options.servers is None:
        options.servers = 1 if options.device.startswith("cuda") else options.workers
    _check_numbers(options)
    machine = hardware()
    playing = not options.table_only
    if playing and not options.scheduler:
        _check_simulator(options.simulator)
    shared = _shared(options)
    _hold_rows(rows, options)
    if playing:  # by the bytes of now: a folder may be trained on while a table is played
        options.revision = options.revision or pin_of(shared["policy"])
    if playing and options.scheduler:
        _play_elsewhere(rows, options)
    elif playing:
        for states in _blocks(options):
            for name in rows:
                _play_row(name, options, states)
    dense, ours = (_outcomes(options.out, name) for name in ("dense", DEFAULT))
    table = {name: figures_of(played, dense) | {"default_against_it": pairing(ours, played)}
             for name in rows for played in [_outcomes(options.out, name)]}
    show(table)
    record = {"command": "python -m vla_infoentropy_ros bench libero",
              "options": {name: str(value) for name, value in vars(options).items()},
              "of": shared, "hardware": machine, "versions": versions(),
              "rows": {name: asdict(row_of(name)) | figures for name, figures in table.items()}}
    (options.out / "table.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    films = {name: _films(options.out, name) for name in rows}
    page = options.out / "report.html"
    page.write_text(libero_page(record, films), encoding="utf-8")
    print(f"report: {page}")
    return 0


def _shared(options: argparse.Namespace) -> dict[str, str]:
    """What all episodes of ``--out`` share. Raises UserError where they are another policy's."""
    file = options.out / "of.json"
    if options.table_only:
        if not options.out.is_dir():
            raise BenchError(f"--out {options.out}: no folder of episodes; --table-only plays none")
        return episode_log.held(file)
    load = replace(LoadOptions.from_arguments(options), device="cpu")  # its bytes alone matter here
    policy = load_policy(options.model, load).revision
    if not file.exists() and any(options.out.glob("*/*.jsonl")):
        print(f"note: the episodes in {options.out} do not say of which policy they are; they are "
              f"taken for those of {policy}", file=sys.stderr)
    shared = {"policy": policy, "rendering": options.rendering,
              "loading": " ".join(_flags(replace(load, revision="")))}
    episode_log.hold(file, shared)
    return shared


def _hold_rows(rows: Sequence[str], options: argparse.Namespace) -> None:
    """A row's folder says what the row is in full, since what a name stands for, or a default, is
    another in another version. Raises UserError where its episodes are of something else, or those
    of the rows that all are compared with."""
    for name in dict.fromkeys([*rows, "dense", DEFAULT]):
        file = _file(options.out, name, "x", 0).with_name("row.json")
        if not file.exists():
            if options.table_only or name not in rows:
                continue
            if any(file.parent.glob("*.jsonl")):
                print(f"note: the episodes in {file.parent} do not say by which settings they "
                      f"were played; they are taken for those of {name!r}", file=sys.stderr)
        episode_log.hold(file, row_of(name).in_full())


def _flags(load: LoadOptions) -> list[str]:
    """The arguments of ``serve`` that say how the policy is loaded, but for its name."""
    return [f"--{entry.name.replace('_', '-')}={value}" for entry in fields(load)
            if (value := getattr(load, entry.name)) != entry.default]


def _check_numbers(options: argparse.Namespace) -> None:
    for name, most in (("episodes", INITIAL_STATES), ("block", INITIAL_STATES), ("workers", 64),
                       ("servers", options.workers)):
        if not 1 <= getattr(options, name) <= most:
            raise BenchError(f"--{name} {getattr(options, name)}: must lie in 1 .. {most}")
    last = INITIAL_STATES - options.episodes
    if not 0 <= options.first <= last:
        raise BenchError(f"--first {options.first}: must lie in 0 .. {last}, since a task has "
                         f"{INITIAL_STATES} initial states and --episodes is {options.episodes}")


def _check_simulator(python: Path) -> None:
    missing = f"{python} does not exist" if not python.exists() else ""
    if not missing:
        tried = subprocess.run(  # noqa: S603 - the Python that the user names
            [python, "-c", "import libero.libero, websockets, msgpack"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,  # one of LIBERO's asks
        )
        missing = (tried.stderr.strip().splitlines() or [""])[-1] if tried.returncode else ""
    if missing:
        raise BenchError(f"no simulator: {missing}; 'make libero' sets one up, --simulator names "
                         "the Python of another")


def _blocks(options: argparse.Namespace) -> list[range]:
    """The initial states of a task that a row plays at a time."""
    end = options.first + options.episodes
    return [range(first, min(first + options.block, end))
            for first in range(options.first, end, options.block)]


def _play_row(name: str, options: argparse.Namespace, states: range) -> None:
    """``states`` of every task of every suite, ``options.workers`` tasks at a time. What failed is
    tried once more, by a new server. Raises BenchError."""
    said = {(suite, task): "" for suite in options.suites for task in options.tasks}
    for _ in range(2):
        left = [job for job in said if _left(name, job, states, options.out)]
        if not left:
            return
        said = dict(zip(left, _play_tasks(name, left, states, options), strict=True))
    for sentence in filter(None, said.values()):
        raise BenchError(f"{sentence}; it failed twice. What is finished is kept")


def _play_tasks(name: str, jobs: Sequence[tuple[str, int]], states: range,
                options: argparse.Namespace) -> list[str]:
    """Tasks side by side, each with a server that has least to do: of each what `_play_task`
    says."""
    # The pool waits for its workers, so those whom an interrupt finds playing are ended before it.
    with ThreadPoolExecutor(options.workers) as pool, ExitStack() as stack:
        servers = [stack.enter_context(_served(name, options)) for _ in range(options.servers)]
        free: SimpleQueue[int] = SimpleQueue()
        for index in range(options.workers):
            free.put(index % options.servers)
        renewing = Lock()

        def url_of(index: int) -> str:
            """One that has died would take the first try of every task that comes to it."""
            with renewing:
                if servers[index].ended():
                    servers[index] = stack.enter_context(_served(name, options))
                return servers[index].url

        def play(job: tuple[str, int]) -> str:
            index = free.get()
            try:
                return _play_task(name, url_of(index), job, states, options, stack)
            finally:
                free.put(index)

        return list(pool.map(play, jobs))


def _left(name: str, job: tuple[str, int], states: range, out: Path) -> list[int]:
    """The initial states among ``states`` of a suite's task that a row has not finished."""
    done = {each.initial_state for each in finished(_file(out, name, *job))}
    return [index for index in states if index not in done]


def _play_task(name: str, url: str, job: tuple[str, int], states: range,
               options: argparse.Namespace, stack: ExitStack) -> str:
    """A suite's task by one worker process, ended with ``stack``; where and with what it failed,
    or ""."""
    file = _file(options.out, name, *job)
    file.parent.mkdir(parents=True, exist_ok=True)
    told, failure = _simulate(name, url, job, states, file, options, stack)
    if not failure:
        print(f"{name}: {job[0]} {job[1]} {told}", flush=True)
        return ""
    left = _left(name, job, states, options.out)
    if not left:  # simulators may crash as they end
        print(f"note: {name}: {job[0]} {job[1]}: all is played, and then: {failure}",
              file=sys.stderr, flush=True)
        return ""
    sentence = f"{_named(name, job, left[0])}: {failure}"
    print(sentence, file=sys.stderr, flush=True)
    return sentence


def _simulate(name: str, url: str, job: tuple[str, int], states: range, file: Path,
              options: argparse.Namespace, stack: ExitStack) -> tuple[str, str]:
    """Play what is not in ``file`` yet, until ``stack`` closes: the last that was said of it, and
    why it failed, or ""."""
    suite, task = job
    filmed = ["--films", str(file.parent)] if states.start == options.first else []
    player = subprocess.Popen(  # noqa: S603 - our own command line
        [str(options.simulator), "-m", "vla_infoentropy_ros.libero.play", str(file),
         "--url", url, "--suites", suite, "--tasks", str(task), "--first", str(states.start),
         "--episodes", str(len(states)), "--control", row_of(name).control,
         "--rendering", options.rendering, *filmed],
        env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=die_with_parent,
    )
    stack.callback(player.terminate)
    told, failure = _ended(player, file)
    lines = (failure if player.returncode else told).strip().splitlines()
    said = (lines or [f"exit code {player.returncode}"])[-1]
    return (said, "") if player.returncode == 0 else ("", said)


def _ended(player: subprocess.Popen[str], file: Path) -> tuple[str, str]:
    """What a player said, on both its outputs; one that finishes nothing any more is ended."""
    while True:
        size = file.stat().st_size if file.exists() else 0
        try:
            return player.communicate(timeout=_STALLED_S)
        except subprocess.TimeoutExpired:
            if file.exists() and file.stat().st_size > size:
                continue
            player.kill()
            told, failure = player.communicate()
            return told, f"{failure}\nno episode ended within {_STALLED_S:g} s"


def _named(name: str, job: tuple[str, int], index: int) -> str:
    suite, task = job
    return f"{name}: {suite} {task}, initial state {index} (seed {seed_of(task, index)})"


class Episode(NamedTuple):
    """One initial state of a suite's task, for a worker elsewhere."""

    row: str
    job: tuple[str, int]
    initial_state: int
    options: argparse.Namespace


def _play_elsewhere(rows: Sequence[str], options: argparse.Namespace) -> None:
    """All that is missing, by the workers of a scheduler. Raises UserError."""
    jobs = [
        Episode(name, job, index, options)
        for states in _blocks(options)
        for name in rows
        for job in ((suite, task) for suite in options.suites for task in options.tasks)
        for index in _left(name, job, states, options.out)
    ]
    played = spread(options.scheduler, _play_here, jobs,
                    lambda each: _named(each.row, each.job, each.initial_state))
    for at, (each, left) in enumerate(played, start=1):
        file = _file(options.out, each.row, *each.job)
        file.parent.mkdir(parents=True, exist_ok=True)
        for line in left.pop(file.name).splitlines():
            episode_log.add(file, json.loads(line))
        for film, content in left.items():
            (file.parent / film).write_bytes(content)
        print(f"{_named(each.row, each.job, each.initial_state)}: {at} of {len(jobs)}", flush=True)


def _play_here(each: Episode) -> dict[str, bytes]:
    """On a worker: the files that the episode leaves, by name. Raises BenchError."""
    with (TemporaryDirectory() as folder, _served(each.row, each.options) as server,
          ExitStack() as stack):
        file = Path(folder) / _file(Path(), each.row, *each.job).name
        states = range(each.initial_state, each.initial_state + 1)
        _, failure = _simulate(each.row, server.url, each.job, states, file, each.options,
                               stack)
        if failure and not finished(file):
            raise BenchError(failure)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class Served(NamedTuple):
    """A server: where it answers, and whether its process has ended."""

    url: str
    ended: Callable[[], bool]


@contextmanager
def _served(name: str, options: argparse.Namespace) -> Iterator[Served]:
    """The row's server, on a port of its own choice."""
    command = [sys.executable, "-m", "vla_infoentropy_ros", "serve", "--port", "0",
               "--clients", str(options.workers), "--model", options.model,
               *_flags(LoadOptions.from_arguments(options)),
               *row_of(name).serving()]
    with subprocess.Popen(  # noqa: S603 - our own command line
        command, env=_environment(), stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent,
    ) as server:
        assert server.stdout is not None
        # A policy or a selector of the user's may print too, and would wait for a reader.
        rest = Thread(target=sys.stderr.writelines, args=(server.stdout,), daemon=True)
        try:
            for line in server.stdout:
                if address := _ADDRESS.fullmatch(line):
                    break
                sys.stderr.write(line)
            else:
                raise BenchError(f"{name}: the server did not start; why stands above, or in "
                                 "the worker's log")
            rest.start()
            yield Served(f"ws://{address[1]}", lambda: server.poll() is not None)
        finally:
            server.terminate()
            if rest.is_alive():  # until it has read to the end, what it reads must stay open
                rest.join()


def _environment() -> dict[str, str]:
    """Both sides import this package from here, and compute with one thread each. They meet on
    loopback alone, where no token is asked for."""
    own = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    path = os.pathsep.join(filter(None, (str(ROOT), own.get("PYTHONPATH", ""))))
    return own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}


def _file(out: Path, name: str, suite: str, task: int) -> Path:
    return out / name.replace(", ", "-").replace(" ", "-") / f"{suite}-{task}.jsonl"


def _films(out: Path, name: str) -> list[Path]:
    """The videos of a row, as its report finds them."""
    folder = _file(out, name, "x", 0).parent
    return [path.relative_to(out) for path in sorted(folder.glob("*"))
            if path.suffix in (".mp4", ".gif")]


def _outcomes(out: Path, name: str) -> dict[Key, Outcome]:
    files = sorted(_file(out, name, "x", 0).parent.glob("*.jsonl"))
    found = {(each.suite, each.task, each.initial_state): each
             for file in files for each in finished(file)}
    return dict(sorted(found.items()))  # so that means do not hang on who was first


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench libero", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=Path("out/libero"),
                        help="folder of the episodes and the table (default: %(default)s)")
    parser.add_argument("--simulator", type=Path, default=SIMULATOR,
                        help="Python of the simulator's environment (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", type=named(row_of), metavar="ROW",
                        help="which rows (default: all of these): a selector of a plug-in, with "
                        f"+window if so wanted, or of {'; '.join(ROWS)}")
    parser.add_argument("--suites", nargs="+", choices=list(STEP_LIMITS),
                        default=list(STEP_LIMITS))
    parser.add_argument("--tasks", nargs="+", type=int, choices=range(10), metavar="TASK",
                        default=list(range(10)), help="0 to 9 (default: all)")
    parser.add_argument("--first", type=int, default=0,
                        help="initial state of each task to begin with (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=25,
                        help="initial states of each task, from --first on (default: %(default)s)")
    parser.add_argument("--block", type=int, default=5, help="initial states of each task that a "
                        "row plays before it is the next row's turn (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="simulators at a time")
    parser.add_argument("--servers", type=int, help="of the policy, which the simulators share; "
                        "a server answers one at a time (default: 1 on a GPU, else one for each "
                        "simulator)")
    parser.add_argument("--scheduler", default="", metavar="tcp://HOST:PORT",
                        help="of dask.distributed: its workers play, instead of --workers here, "
                        "by the bytes of the policy here")
    parser.add_argument("--rendering", choices=("fast", "stock"), default="fast",
                        help="stock: the benchmark's own pictures, for policies of others; fast: "
                        "without reflections, shadows and multisampling, as embedded_libero was "
                        "trained (default: %(default)s)")
    parser.add_argument("--table-only", action="store_true", help="play nothing")
    add_load_arguments(parser)
    parser.set_defaults(model="embedded_libero")
    return parser
