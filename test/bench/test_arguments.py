# SPDX-License-Identifier: Apache-2.0
"""What the measurements take: refused at once in one sentence, before hours are spent on it."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vla_infoentropy_ros import argument_types, bench
from vla_infoentropy_ros.argument_types import out_file
from vla_infoentropy_ros.models import loading
from vla_infoentropy_ros.sim.gl import RenderBackendError, choose_backend
from vla_infoentropy_ros.sim.tabletop import Tabletop

OURS = [name for name in bench.BENCHES if name != "libero"]
KINDS = {
    "--alone": "count", "--domain": "domain", "--episodes": "count", "--first-seed": "seed",
    "--frames": "many", "--json": "out_file", "--log": "out_file", "--out": "out_file",
    "--seed": "seed", "--threads": "workers", "--workers": "workers",
}


class _Parsed(Exception):
    """All arguments were taken."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured: a command ends when its arguments are taken."""
    parse = argparse.ArgumentParser.parse_args

    def then_end(self: argparse.ArgumentParser, *given: Any) -> None:
        parse(self, *given)
        raise _Parsed(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", then_end)


@pytest.mark.parametrize("words", [
    "steps --episodes 0", "steps --threads 0", "conditions --episodes 0", "flow --episodes 0",
    "flow --first-seed -1", "pace --episodes 0", "episodes --episodes 0", "episodes --workers 0",
    "selection --episodes 0", "selection --threads 0", "launches --threads -1",
    "device --threads 0", "device --frames x", "device --seconds nan", "replay --alone 0",
    "replay --minutes nan", "transport --domain 999", "transport --frames 0", "transport --rate 0",
    "soak --minutes inf", "soak --minutes 1e+307", "soak --camera-rate 0", "soak --width 0",
    "abuse --minutes -1", "abuse --minutes nan", "abuse --seed -1", "arms --seed -1",
    "gazebo --limit 0", "gazebo --pace nan", "pace --periods 0", "pace --periods -1",
    "pace --periods nan", "pace --periods 1 1.05", "pace --periods 0.06",
    "soak --selector nonsense", "replay --selector nonsense",
])
def test_a_value_that_cannot_be_is_refused_by_its_name(
    parsed: None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, option, *values = words.split()
    with pytest.raises(SystemExit) as ended:
        bench.main([name, option, *values])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {option}: " in told and values[-1].strip("-") in told
    assert "invalid" not in told, "argparse's own words"


@pytest.mark.parametrize("words", [
    "pace --periods 0.125 1.5 3", "abuse --minutes 0", "abuse --minutes 0.5", "flow --first-seed 0",
    "transport --domain 0", "soak --selector attention_drift+window",
])
def test_what_can_be_is_taken(parsed: None, words: str) -> None:
    with pytest.raises(_Parsed):
        bench.main(words.split())


@pytest.mark.parametrize("name", OURS)
def test_arguments_of_a_kind_are_of_one_type(parsed: None, name: str) -> None:
    with pytest.raises(_Parsed) as caught:
        bench.main([name])
    for action in caught.value.args[0]._actions:
        for option in KINDS.keys() & set(action.option_strings):
            assert action.type is getattr(argument_types, KINDS[option]), option


class TestOutFile:
    def test_its_folder_is_made_and_nothing_is_left_in_it(self, tmp_path: Path) -> None:
        file = tmp_path / "new" / "deep" / "table.json"
        assert out_file(str(file)) == file
        assert list(file.parent.iterdir()) == []

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        file = tmp_path / "table.json"
        file.write_text("before")
        out_file(str(file))
        assert file.read_text() == "before"

    def test_what_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path, tmp_path / "file" / "table.json"):
            with pytest.raises(argparse.ArgumentTypeError,
                               match=r"cannot be written: .*; name another file"):
                out_file(str(path))

    @pytest.mark.parametrize("words", ["steps --out", "device --out", "episodes --log",
                                       "arms --json", "soak --json", "transport --json"])
    def test_a_command_says_which_option(
        self, parsed: None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            bench.main([*words.split(), str(tmp_path)])
        option = words.split()[1]
        assert f"error: argument {option}: '{tmp_path}' cannot be" in capsys.readouterr().err


class _Began(Exception):
    """Something is measured."""


def _begin(*_: Any, **__: Any) -> None:
    raise _Began


@pytest.mark.parametrize(("name", "option", "first"), [
    ("episodes", "--out", "load_for_tabletop"), ("arms", "--json", "load_policy"),
    ("gazebo", "--json", "release"),
])
def test_a_table_does_not_go_into_the_log(
    monkeypatch: pytest.MonkeyPatch, name: str, option: str, first: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = import_module(f"vla_infoentropy_ros.bench.{name}")
    monkeypatch.setattr(module, first, _begin)
    one, same = tmp_path / "one", tmp_path / "folder" / ".." / "one"
    with pytest.raises(SystemExit):
        module.main(["--log", str(one), option, str(same)])
    assert f"--log and {option} are one file" in capsys.readouterr().err
    with pytest.raises(_Began):
        module.main(["--log", str(one), option, str(tmp_path / "two")])


@pytest.mark.parametrize("words", [
    "steps", "selection", "launches --model embedded", "device --model embedded", "episodes",
    "flow", "pace", "conditions", "replay",
])
def test_the_load_is_that_before_the_run(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("it has begun already")

    monkeypatch.setattr("os.getloadavg", _begin)
    monkeypatch.setattr(loading, "load_policy", measured)
    monkeypatch.setattr(Tabletop, "__init__", measured)
    monkeypatch.setattr("vla_infoentropy_ros.bench.replay.make_bag", measured)
    name, *rest = words.split()
    with pytest.raises(_Began):
        bench.main([name, *rest])


def test_a_renderer_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(RenderBackendError, match="MUJOCO_GL='nonsense' is not among egl, osmesa"):
        choose_backend()
    monkeypatch.setattr("vla_infoentropy_ros.bench.conditions.solved_episode",
                        lambda _: choose_backend())
    assert bench.main(["conditions"]) == 1
    assert capsys.readouterr().err.startswith("error: MUJOCO_GL='nonsense' is not among")
