# SPDX-License-Identifier: Apache-2.0
"""The table of LIBERO: what is played, what is tried again, what is counted."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from distributed import LocalCluster

from vla_infoentropy_ros import bench
from vla_infoentropy_ros.bench import libero
from vla_infoentropy_ros.bench.libero_table import figures_of, pairing
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.interrupting import terminable
from vla_infoentropy_ros.libero.play import Outcome
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.serve import cli as serve

ROOT = Path(__file__).parents[2]

# Stands in for the simulator's Python: plays in no time, and dies while the server that ``broken``
# names answers, or never ends.
PLAYER = """#!{python}
import json, sys, time
from pathlib import Path
if sys.argv[1] == "-c":
    sys.exit(0)
arguments = sys.argv[3:]
out, value = Path(arguments[0]), lambda name: arguments[arguments.index(name) + 1]
broken = Path({broken!r})
lines = out.read_text().splitlines() if out.exists() else []
done = [json.loads(line)["initial_state"] for line in lines]
first = int(value("--first"))
if "--films" in arguments:
    Path(value("--films"), out.stem + "-%d.gif" % first).write_bytes(b"GIF")
for index in range(first, first + int(value("--episodes"))):
    if index in done:
        continue
    if index == 1 and broken.exists() and broken.read_text() == "never ends":
        broken.unlink()
        time.sleep(100.0)
    if index == 1 and broken.exists() and broken.read_text() in ("any", value("--url")):
        print("error: the simulator fell over", file=sys.stderr)
        sys.exit(1)
    with out.open("a") as file:
        file.write(json.dumps(dict(
            suite=value("--suites"), task=int(value("--tasks")), initial_state=index, seed=index,
            control=value("--control"), told=value("--url"), success=index != 2, steps=50 + index,
            policy_ms=1.0)) + "\\n")
print("played")
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    rows: list[str] = []
    revisions: list[str] = []
    gone: list[str] = []

    @contextmanager
    def served(name: str, options: argparse.Namespace) -> Iterator[libero.Served]:
        rows.append(name)
        revisions.append(options.revision)
        url = f"ws://{len(rows)}"
        yield libero.Served(url, lambda: url in gone)

    def load(model: str, _: object) -> SimpleNamespace:
        return SimpleNamespace(revision=f"sha256-{model}")

    monkeypatch.setattr(libero, "_served", served)
    monkeypatch.setattr(libero, "load_policy", load)
    player = tmp_path / "python"
    player.write_text(PLAYER.format(python=sys.executable, broken=str(tmp_path / "broken")))
    player.chmod(0o755)
    return argparse.Namespace(player=str(player), out=tmp_path / "out", broken=tmp_path / "broken",
                              rows=rows, revisions=revisions, gone=gone)


def run(options: argparse.Namespace, *more: str) -> int:
    return bench.main(["libero", "--model", "m", "--simulator", options.player,
                       "--out", str(options.out), "--suites", "libero_object",
                       "--tasks", "0", "1", "--episodes", "3", "--servers", "1", *more])


def test_every_episode_is_counted_once_and_the_same_again(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense", "random 64") == 0
    first = json.loads((options.out / "table.json").read_text())["rows"]
    assert first["random 64"]["successes"] == 4 and first["random 64"]["episodes"] == 6
    assert first["random 64"]["suites"]["libero_object"]["tasks"] == {"0": "2/3", "1": "2/3"}
    assert "   4/6" in capsys.readouterr().out
    assert run(options, "--rows", "dense", "random 64") == 0
    assert json.loads((options.out / "table.json").read_text())["rows"] == first


def test_what_dies_is_tried_once_more_by_a_new_server(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    options.broken.write_text("ws://1")
    assert run(options, "--rows", "dense", "--workers", "1") == 0
    assert options.rows == ["dense", "dense"]
    assert "libero_object 1, initial state 1 (seed 1001): error: the simulator fell over" in (
        capsys.readouterr().err)
    table = json.loads((options.out / "table.json").read_text())
    assert table["rows"]["dense"]["episodes"] == 6


def test_a_server_that_has_ended_is_given_to_nobody(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    options.gone.append("ws://1")
    options.broken.write_text("ws://1")
    assert run(options, "--rows", "dense", "--workers", "1") == 0
    assert not capsys.readouterr().err
    told = {json.loads(line)["told"] for file in options.out.rglob("*.jsonl")
            for line in file.read_text().splitlines()}
    assert told == {"ws://2"} and options.rows == ["dense", "dense"]


def test_a_simulator_that_crashes_as_it_ends_costs_nothing(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    player = Path(options.player)
    player.write_text(player.read_text().replace(
        'print("played")', 'sys.stderr.write("segmentation fault\\n"); sys.exit(139)'))
    assert run(options, "--rows", "dense", "--workers", "1") == 0
    assert "all is played, and then: segmentation fault" in capsys.readouterr().err
    table = json.loads((options.out / "table.json").read_text())
    assert table["rows"]["dense"]["episodes"] == 6
    each = libero.Episode("dense", ("libero_object", 0), 2, libero._parser().parse_args(
        ["--simulator", options.player]))
    assert list(libero._play_here(each)) == ["libero_object-0.jsonl"]


def test_the_token_of_another_server_is_not_asked_of_its_own(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLA_INFOENTROPY_TOKEN", "x" * 32)
    assert "VLA_INFOENTROPY_TOKEN" not in libero._environment()


def test_an_interrupt_ends_those_who_play_and_keeps_what_is_finished(
    options: argparse.Namespace
) -> None:
    options.broken.write_text("never ends")

    def interrupt() -> None:
        while options.broken.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), terminable():
        run(options, "--rows", "dense", "--workers", "1")
    assert time.monotonic() - began < 60.0, "it waited for a simulator that is 100 s from its end"
    assert run(options, "--rows", "dense", "--workers", "1") == 0
    table = json.loads((options.out / "table.json").read_text())
    assert table["rows"]["dense"]["episodes"] == 6


def test_each_simulator_has_a_server_of_its_own_where_asked(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense", "--workers", "2", "--servers", "2") == 0
    told = [json.loads(line)["told"] for file in sorted(options.out.rglob("*.jsonl"))
            for line in file.read_text().splitlines()]
    assert sorted(told) == 3 * ["ws://1"] + 3 * ["ws://2"]
    assert run(options, "--rows", "dense", "--workers", "2", "--servers", "3") == 1
    assert "--servers 3: must lie in 1 .. 2" in capsys.readouterr().err


def test_what_dies_twice_is_named_and_loses_nothing(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    options.broken.write_text("any")
    assert run(options, "--rows", "dense", "--workers", "1") == 1
    assert ("libero_object 0, initial state 1 (seed 1): error: the simulator fell over; it failed "
            "twice. What is finished is kept") in capsys.readouterr().err
    options.broken.unlink()
    assert run(options, "--rows", "dense") == 0


def test_rows_take_turns_and_those_that_are_finished_are_not_served(
    options: argparse.Namespace
) -> None:
    assert run(options, "--rows", "dense", "stale", "--block", "2") == 0
    assert options.rows == ["dense", "stale", "dense", "stale"]
    assert run(options, "--rows", "stale", "dense", "random 64", "--block", "50") == 0
    assert options.rows[4:] == ["random 64"]


def test_a_run_begins_at_the_initial_state_that_is_asked_for_and_films_it(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense", "--first", "10", "--block", "2") == 0
    file = options.out / "dense" / "libero_object-0.jsonl"
    played = [json.loads(line)["initial_state"] for line in file.read_text().splitlines()]
    assert played == [10, 11, 12]
    assert file.with_name("libero_object-0-10.gif").exists()
    assert run(options, "--rows", "dense", "--first", "48") == 1
    assert "error: --first 48: must lie in 0 .. 47" in capsys.readouterr().err


@pytest.mark.parametrize(("preset", "name"), [
    *((name, name) for name in ("paper_infoentropy", "paper_vla_cache", "paper_vla_pruner")),
    ("policy", libero.DEFAULT),
])
def test_rows_of_presets_are_the_presets(preset: str, name: str) -> None:
    content = yaml.safe_load((ROOT / "config" / f"{preset}.yaml").read_text())
    published = PolicyNodeSettings.from_values(content["/**"]["ros__parameters"])
    row = libero.ROWS[name].row
    served = PolicyNodeSettings.from_values({"selector": row.variant, "schedule": row.schedule})
    assert (served.node, served.session.decode) == (published.node, published.session.decode)
    assert replace(SelectionSettings(), **row.settings) == published.selection


def test_a_selector_that_is_in_no_table_is_a_row_by_its_name(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense", "vla_cache+window") == 0
    row = json.loads((options.out / "table.json").read_text())["rows"]["vla_cache+window"]
    assert (row["pairs"], row["row"]["variant"]) == (6, "vla_cache+window")
    assert libero.row_of("vla_cache+window").serving()[:2] == ["--selector", "vla_cache+window"]
    for unknown in ("vla_cach", "dense, noise 10"):  # its camera would not be disturbed
        with pytest.raises(SystemExit):
            run(options, "--rows", unknown)
        assert f"{unknown!r} is no row, nor a variant: " in capsys.readouterr().err


def test_a_checkpoint_is_served_on_the_device_and_by_the_statistics_that_are_asked_for(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--device=cuda", "--dtype=bfloat16", "--unnorm-key=libero_object_no_noops"]
    asked = libero._parser().parse_args(["--model", "checkpoint", *flags])
    load = LoadOptions.from_arguments(asked)
    assert libero._flags(load) == flags
    served = serve._parser().parse_args([*flags, *libero.row_of("fastv 64").serving()])
    assert LoadOptions.from_arguments(served) == load
    assert run(options, "--rows", "dense", *flags[1:]) == 0
    assert run(options, "--rows", "dense") == 1
    assert "loading '--dtype=bfloat16 --unnorm-key=libero_object_no_noops', this is ''" in (
        capsys.readouterr().err)


@pytest.mark.parametrize("wrong", ["--episodes 51", "--block 0", "--workers 0"])
def test_numbers_that_cannot_be_are_refused(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    assert run(options, *wrong.split()) == 1
    assert f"error: {wrong}: must lie in 1 .. " in capsys.readouterr().err


def test_no_simulator_is_said_before_anything_runs(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    options.player = "/nowhere/python"
    assert run(options) == 1
    assert "'make libero' sets one up" in capsys.readouterr().err
    assert run(options, "--table-only") == 1
    assert f"--out {options.out}: no folder of episodes" in capsys.readouterr().err


def test_episodes_of_another_policy_or_rendering_are_not_taken_for_its_own(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense") == 0
    for words, told in ((["--model", "other"], "policy 'sha256-m', this is 'sha256-other'"),
                        (["--rendering", "stock"], "rendering 'fast', this is 'stock'")):
        assert run(options, "--rows", "dense", *words) == 1
        assert f"{options.out} is for episodes of {told}: name another folder" in (
            capsys.readouterr().err)
    assert run(options, "--rows", "dense", "--table-only", "--model", "other") == 0
    assert "Policy sha256-m, rendering fast" in (options.out / "report.html").read_text()
    assert options.rows == ["dense"]


def test_episodes_that_do_not_say_whose_they_are_are_told(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense") == 0 and "note" not in capsys.readouterr().err
    (options.out / "of.json").unlink()
    assert run(options, "--rows", "dense", "--table-only") == 0
    assert "that the folder does not name" in (options.out / "report.html").read_text()
    assert run(options, "--rows", "dense") == 0
    assert "do not say of which policy they are; they are taken for those of sha256-m" in (
        capsys.readouterr().err)


def test_a_row_goes_on_by_the_settings_of_its_episodes_alone(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "attention_drift 48"
    assert run(options, "--rows", name) == 0 and "note" not in capsys.readouterr().err
    played = options.out / "attention_drift-48" / "libero_object-0.jsonl"
    there = played.read_bytes()
    was = libero.ROWS[name]
    changed = replace(was, row=replace(was.row, settings=was.row.settings | {"alpha": 0.25}))
    monkeypatch.setitem(libero.ROWS, name, changed)
    for words in ([], ["--table-only"]):
        assert run(options, "--rows", name, "--first", "3", *words) == 1
        assert "attention_drift-48 is for episodes of selection.alpha '0.5', this is '0.25'" in (
            capsys.readouterr().err)
    assert played.read_bytes() == there
    played.with_name("row.json").unlink()
    assert run(options, "--rows", name, "--table-only") == 0
    assert run(options, "--rows", name) == 0
    assert "do not say by which settings they were played; they are taken for those of " in (
        capsys.readouterr().err)


def test_all_are_compared_with_the_rows_of_this_version_alone(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options, "--rows", "dense", libero.DEFAULT) == 0
    folder = options.out / "attention_drift-64-window"
    held = json.loads((folder / "row.json").read_text())
    (folder / "row.json").write_text(json.dumps(held | {"selection.alpha": "0.25"}))
    assert run(options, "--rows", "dense", "--table-only") == 1
    assert "is for episodes of selection.alpha '0.25'" in capsys.readouterr().err


def test_a_table_is_of_the_bytes_that_it_began_with(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libero, "pin_of", lambda revision: f"pin of {revision}")
    assert run(options, "--rows", "dense", "stale") == 0
    assert set(options.revisions) == {"pin of sha256-m"}


def test_a_simulator_that_hangs_is_ended_and_told(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libero, "_STALLED_S", 1.0)
    options.broken.write_text("never ends")
    assert run(options, "--rows", "dense", "--workers", "1") == 0
    assert "initial state 1 (seed 1): no episode ended within 1 s" in capsys.readouterr().err


CHATTY = """#!{python}
import os, sys, time
from pathlib import Path
print("loading my weights on cpu\\nvla-eval on 127.0.0.1:5", flush=True)
print("x" * 300_000, flush=True)
Path({done!r}).write_text(os.environ["PYTHONPATH"])
time.sleep(100)
"""


def test_a_server_whose_policy_prints_is_found_and_does_not_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, server = tmp_path / "done", tmp_path / "server"
    server.write_text(CHATTY.format(python=sys.executable, done=str(done)))
    server.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    asked = libero._parser().parse_args([])
    with monkeypatch.context() as patched:
        patched.setattr(libero.sys, "executable", str(server))
        with libero._served("dense", asked) as served:
            assert served.url == "ws://127.0.0.1:5"
            end_s = time.monotonic() + 20.0
            while not done.exists() and time.monotonic() < end_s:
                time.sleep(0.02)
    assert done.read_text() == os.pathsep.join((str(libero.ROOT), "/mine"))


@pytest.fixture
def cluster() -> Iterator[str]:
    """Two workers in this process, whose servers are those of `options`."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, silence_logs=50,
                      dashboard_address=":0") as local:
        yield local.scheduler_address


def lines_of(options: argparse.Namespace) -> list[tuple[str, int]]:
    """What was played for dense, file and initial state."""
    return sorted((file.stem, json.loads(line)["initial_state"])
                  for file in (options.out / "dense").glob("*.jsonl")
                  for line in file.read_text().splitlines())


def test_a_cluster_gives_the_table_of_one_machine(
    options: argparse.Namespace, cluster: str
) -> None:
    rows = ["--rows", "dense", "random 64"]
    assert run(options, *rows) == 0
    here = json.loads((options.out / "table.json").read_text())
    shutil.rmtree(options.out)
    options.rows.clear()
    options.revisions.clear()
    for _ in range(2):
        assert run(options, *rows, "--block", "2", "--scheduler", cluster) == 0
        there = json.loads((options.out / "table.json").read_text())
        assert there["rows"] == here["rows"]
    # In turns of four, but for one that a worker began while the other still came to its own.
    assert len(options.rows) == 12 and set(options.rows[:3]) == {"dense"}
    assert options.rows[:8].count("random 64") >= 3
    assert set(options.revisions) == {"sha256-m"} == {there["options"]["revision"]}
    assert (options.out / "dense" / "libero_object-1-0.gif").exists()


def test_what_dies_twice_on_a_cluster_is_named_and_loses_nothing(
    options: argparse.Namespace, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options.broken.write_text("any")
    assert run(options, "--rows", "dense", "--scheduler", cluster) == 1
    said = capsys.readouterr().err.splitlines()
    sentence = "initial state 1 (seed 1): error: the simulator fell over (worker inproc://"
    assert len([line for line in said if sentence in line]) == 3 and said[-1].endswith(
        "it failed twice. What is finished is kept")
    kept = lines_of(options)
    assert ("libero_object-0", 0) in kept and not any(state == 1 for _, state in kept)
    options.broken.unlink()
    assert run(options, "--rows", "dense") == 0  # here, in the gaps that the cluster has left
    assert lines_of(options) == [(f"libero_object-{task}", state)
                                 for task in (0, 1) for state in range(3)]


def outcome(index: int, success: bool, answer_ms: float = 5.0) -> Outcome:
    return Outcome("libero_object", 0, index, index, "none", "", success, 60, answer_ms, 4.0, 48.0,
                   1e9)


def test_rows_are_paired_by_initial_state() -> None:
    dense = {each.key[:3]: each for each in (outcome(0, True), outcome(1, False))}
    ours = {each.key[:3]: each for each in (outcome(1, True), outcome(0, False), outcome(2, True))}
    figures = figures_of(ours, dense)
    assert (figures["pairs"], figures["won_against_dense"], figures["lost_against_dense"]) == (
        2, 1, 1)
    assert figures["successes"] == 2 and figures["macs_mean"] == 1e9
    assert pairing(dense, ours) == {"pairs": 2, "won": 1, "lost": 1, "sign_test_p": 1.0}
    slow = figures_of(ours | {("libero_object", 0, 3): outcome(3, False, 9000.0)}, dense)
    assert slow["policy_ms_median"] == 5.0, "one episode beside other work says nothing of a step"
    assert asdict(libero.ROWS["dense, wrong instruction"])["control"] == "wrong_instruction"


def test_the_page_shows_counts_by_row_and_task_and_the_films(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    film = options.out / "dense" / "libero_object-0-0.gif"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"GIF")
    assert run(options, "--rows", "dense", "attention_drift 48") == 0
    page = (options.out / "report.html").read_text()
    assert page.count("4 of 6") == 2 and page.count("2/3") == 4
    assert "0 / 0 of 6" in page and 'src="dense/libero_object-0-0.gif"' in page
    assert f"report: {options.out / 'report.html'}" in capsys.readouterr().out
