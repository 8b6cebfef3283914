# SPDX-License-Identifier: Apache-2.0
"""What the documentation tells to type can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from . import printed, shell

PAGES = [shell.ROOT / "README.md", shell.ROOT / "CONTRIBUTING.md",
         *sorted((shell.ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in shell.blocks(page)]
QUOTED = [found for page in PAGES for found in shell.quoted(page)]
EXIT = {"doctor": (0, 1)}  # 1: it found something to mend on this machine


def by_place(block: shell.Block) -> str:
    return block.place


# What several pages show is run once, by whichever name of the Python.
UNMARKED = {block.text.replace(".venv/bin/", ""): block for block in BLOCKS if not block.stand_ins}


@pytest.mark.parametrize("block", UNMARKED.values(), ids=by_place)
def test_a_block_without_a_mark_runs_as_it_stands(block: shell.Block, tmp_path: Path):
    done = shell.run(block, tmp_path)
    expected = next((codes for word, codes in EXIT.items() if word in block.text), (0,))
    assert done.returncode in expected, f"{block.place}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.stand_ins], ids=by_place)
def test_a_block_with_a_mark_calls_its_programs_as_they_can_be_called(
    block: shell.Block, tmp_path: Path
):
    calls = shell.played(block, tmp_path)
    assert calls, f"{block.place} calls nothing"
    for call in calls:
        shell.judge(call)


@pytest.mark.parametrize(("place", "command"), QUOTED, ids=[place for place, _ in QUOTED])
def test_a_command_in_running_text_can_be_called(place: str, command: str):
    program, *words = shlex.split(command, comments=True)
    shell.judge([Path(program).name, *words])


@pytest.mark.parametrize(("place", "command"), list(printed.printed()))
def test_a_command_that_code_or_a_file_shows_can_be_called(place: str, command: str):
    shell.judge(printed.words_of(command))


def test_commands_are_found_in_help_texts_messages_and_comments():
    """The test of the test."""
    found = dict(map(reversed, printed.printed()))
    assert len(found) > 50
    for command, file in (
        ("make libero LIBERO_PYTHON=/path/to/python3.11", "scripts/libero.sh"),
        ("make demo EPISODES=3", "Makefile"),
        ("python -m vla_infoentropy_ros bench arms --controller twist --episodes 1", "bench/arms"),
        ("python -m vla_infoentropy_ros operate status", "launch/bag.launch.xml"),
        ("ros2 launch vla_infoentropy_ros servo.launch.xml robot:=panda image:=/camera/image_raw "
         "model:=/checkpoints/mine", "launch/servo.launch.xml"),
    ):
        assert file in found[command]
    text = "as 'python -m vla_infoentropy_ros selftest --model x' and `make demo` do, make again"
    assert [*printed.commands_in(text)] == [
        "make demo", "python -m vla_infoentropy_ros selftest --model x"]


@pytest.mark.parametrize("wrong", [
    "make nothing_of_this_name",
    "python -m vla_infoentropy_ros replay BAG --no-such-flag",
    "python -m vla_infoentropy_ros bench nothing",
    "pip install 'vla_infoentropy_ros[nothing]'",
    "python -m vla_infoentropy_ros.no_such_module",
    "ros2 launch vla_infoentropy_ros vla.launch.xml no_such_argument:=1",
    "ros2 launch vla_infoentropy_ros servo.launch.xml robot:=panda",
    "ros2 topic pub --once /instruction std_msgs/msg/String '{text: pick up the cup}'",
    "ros2 service call /policy_node/enable std_srvs/srv/SetBool '{data: maybe}'",
    "ros2 run vla_infoentropy_ros policy_node --ros-args -p no_such_parameter:=1",
    "unheard_of --help",
])  # fmt: skip
def test_what_cannot_be_called_is_seen(wrong: str, tmp_path: Path):
    """The test of the tests."""
    [call] = shell.played(shell.Block("here", wrong, "yes"), tmp_path)
    with pytest.raises(Exception, match=r"\w"):
        shell.judge(call)
