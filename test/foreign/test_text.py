# SPDX-License-Identifier: Apache-2.0
"""Whatever text comes in, one printable line goes out."""

from __future__ import annotations

import random
import sys

import pytest

from vla_infoentropy_ros.control.faults import INVALID_PARAMETER, Fault
from vla_infoentropy_ros.control.kinematics import KinematicsError
from vla_infoentropy_ros.driving.images import ImageError
from vla_infoentropy_ros.foreign.text import MESSAGE, NAME, UserError, one_line, printable, shown
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.action_codec import ActionError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.session import StepError

FORGED = "arm\n[FATAL] [policy_node]: \x1b[2J\x1b]0;a\x07 \u202egnihtyreve\u202c \u200bis fine\r"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("put the red cube on the white plate", "put the red cube on the white plate"),
        ("Größe 手 naïve 🤖", "Größe 手 naïve 🤖"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f"),
        ("line\u2028par\u2029nel\x85", r"line\u2028par\u2029nel\x85"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("half a pair \ud800", r"half a pair \ud800"),
        ("", ""),
    ],
)
def test_what_has_no_shape_is_written_out(text: str, told: str) -> None:
    assert printable(text) == told


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    told = printable("instruction=" + "x" * 10_000_000 + ": say it in fewer words", 80)
    assert len(told) == 80
    assert told.startswith("instruction=xx") and told.endswith(" say it in fewer words")


def test_escapes_count_too() -> None:
    assert len(printable("\U000e0001" * 1000)) <= NAME


def test_any_text_becomes_one_short_printable_line() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        text = "".join(chr(rng.randrange(sys.maxunicode + 1)) for _ in range(rng.randrange(200)))
        told = printable(text)
        assert told.isprintable() and len(told) <= NAME
        told.encode("utf-8")


def test_a_librarys_lines_are_joined_and_its_escapes_are_not_obeyed() -> None:
    assert one_line("while parsing\n  a block\x1b[2J") == r"while parsing a block\x1b[2J"
    assert len(one_line("x " * 1_000_000)) == 300


def test_values_are_quoted_and_cut() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown(list(range(100_000)))) == NAME


@pytest.mark.parametrize(
    "kind",
    [UserError, SettingError, PolicyError, ActionError, KinematicsError, ImageError, BagError,
     StepError],
)
def test_errors_for_users_hold_one_line(kind: type[Exception]) -> None:
    told = str(kind(FORGED + "x" * 100_000))
    assert told.isprintable() and len(told) <= MESSAGE
    assert told.startswith(r"arm\n[FATAL] [policy_node]: \x1b[2J")


def test_a_faults_reason_holds_one_line() -> None:
    assert Fault(INVALID_PARAMETER, FORGED).reason == printable(FORGED, MESSAGE)
