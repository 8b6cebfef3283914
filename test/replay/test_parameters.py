# SPDX-License-Identifier: Apache-2.0
"""Replay takes the node's parameters under their names: from its files, and one by one."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from vla_infoentropy_ros.driving.arguments import assignments, parse, settings_of
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.replay.cli import _parser, main
from vla_infoentropy_ros.share import share_directory

CONFIG = share_directory() / "config"


def asked(*arguments: str) -> argparse.Namespace:
    return parse(_parser(), ["recording", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    selector: vla_cache\n    session.decode: window\n"
        "    selection: {cache_static: 99}\n    model: somewhere\n    dtype: bfloat16\n"
        "    instruction: put it there\n    use_sim_time: true\n    command.base_frame: arm\n"
        "    session.frame_gap_limit_s: 2.5\n    state.rotation: rpy\n"
    )
    return path


def test_a_file_of_the_node_is_taken_whole(file: Path) -> None:
    options = asked("--params-file", str(file))
    assert (options.selector, options.model) == ("vla_cache+window", "somewhere")
    assert options.instruction == "put it there"
    assert LoadOptions.from_arguments(options) == LoadOptions(dtype="bfloat16")
    settings = settings_of(options)
    assert settings.selection.cache_static == 99 and settings.session.frame_gap_limit_s == 2.5
    assert settings.command.base_frame == "arm" and settings.state.rotation == "rpy"


def test_a_flag_wins_and_a_later_file_does(file: Path) -> None:
    options = asked("--params-file", str(file), "--selector", "dense", "--dtype", "float16",
                    "--base-frame", "base", "--set", "selection.cache_static=98")
    settings = settings_of(options)
    assert (options.selector, options.dtype) == ("dense", "float16")
    assert settings.command.base_frame == "base" and settings.selection.cache_static == 98
    preset = str(CONFIG / "paper_infoentropy.yaml")
    assert asked(f"--params-file={file}", "--params-file", preset).selector == "info_entropy+window"
    assert asked("--params-file", preset).selector == "info_entropy"
    assert asked("--params", preset).selector == "info_entropy", "argparse takes a flag's beginning"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_that_is_shipped_can_be_named(path: Path) -> None:
    if path.stem == "gazebo_bridge":
        with pytest.raises(UserError, match="holds no parameters"):
            asked("--params-file", str(path))
        return
    settings_of(asked("--params-file", str(path)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/**:\n  ros__parameters:\n    selektor: dense\n", "selektor.* did you mean selector"),
        ("/**:\n  ros__parameters:\n    selection.k1: 99\n", "k1=99 is above k2"),
        ("/**:\n  ros__parameters:\n    selector: denze\n", "'denze' is not among"),
        ("other_node:\n  ros__parameters:\n    selector: dense\n", "no section .* is for this"),
        ("/**: [", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    assert main(["recording", "--params-file", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and str(path) in err
    assert re.search(told, err)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fresh_tokens=3", "did you mean selection.fresh_tokens"),
        ("selection.fresh_tokens", "write it as name=value"),
        ("selection.fresh_tokens=few", "no int"),
        ("command.dry_run=perhaps", "neither true nor false"),
        ("selector=dense", "it has a flag, --selector"),
        ("command.base_frame=x", "it has a flag, --base-frame"),
        ("session.decode=window", "it has a flag, --selector, as NAME.window"),
    ],
)
def test_what_cannot_be_set_is_one_sentence(text: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        assignments([text])


def test_values_take_the_type_of_the_parameter() -> None:
    given = ["selection.cache_layers=2,3", "session.entropy_gate=1", "command.limit_workspace=TRUE",
             "command.workspace_low=0,-1,0.5"]
    assert assignments(given) == {
        "selection.cache_layers": (2, 3), "session.entropy_gate": 1.0,
        "command.limit_workspace": True, "command.workspace_low": (0.0, -1.0, 0.5),
    }
    with pytest.raises(SettingError, match=r"command.limit_workspace' is unknown"):
        assignments(given, "selection", "session")
