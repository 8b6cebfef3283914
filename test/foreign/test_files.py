# SPDX-License-Identifier: Apache-2.0
"""Files of others: what is no file, too large or too deep is refused by a sentence, at once."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from vla_infoentropy_ros.foreign import budgets
from vla_infoentropy_ros.foreign.budgets import BudgetError
from vla_infoentropy_ros.foreign.files import (
    check_weights,
    open_regular,
    read_bytes,
    read_json,
    read_yaml,
)


class _Refused(ValueError):
    """The caller's own error."""


def test_a_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"12345")
    (tmp_path / "name").symlink_to(tmp_path / "blob")
    assert read_bytes(tmp_path / "name", "json_bytes") == b"12345"
    with open_regular(tmp_path / "blob") as file:
        assert file.read(2) == b"12"


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, told in ((tmp_path / "fifo", "is a FIFO"), (Path("/dev/zero"), "is a device"),
                           (tmp_path, "is a folder")):
            with pytest.raises(_Refused, match=f"{path} {told}; name a regular file"):
                read_bytes(path, "json_bytes", _Refused)
        with pytest.raises(OSError):
            read_bytes(tmp_path / "socket", "json_bytes", _Refused)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing", "json_bytes", _Refused)


def test_a_larger_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(_Refused, match=r"1,099,511,627,776 bytes, at most 16,777,216 are taken"):
        read_json(path, _Refused)


def test_json_is_refused_for_its_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 64 + "]" * 64)
    assert read_json(path)
    for depth in (65, 900, 100_000):
        path.write_text("[" * depth + "]" * depth)
        with pytest.raises(_Refused, match="at most 64 are taken of JSON or YAML within"):
            read_json(path, _Refused)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"q99": 0, "q01": 1, "q01": 2}')
    with pytest.raises(_Refused, match=r"'q01' stands twice in one object"):
        read_json(path, _Refused)


@pytest.mark.parametrize("text", ["{", "\ufeff{}", '{"a": 1' + "0" * 5000 + "}", "nul"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(_Refused, match=r"cannot be read as JSON: .*; fetch it again"):
        read_json(path, _Refused)


def test_yaml_holds_plain_values_and_no_aliases(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("rosbag2_bagfile_information:\n  files: [a, b]\n")
    assert read_yaml(path) == {"rosbag2_bagfile_information": {"files": ["a", "b"]}}
    for text, told in (
        ("a: &a [x]\nb: *a\n", "1 aliases, at most 0 are taken"),
        ("[" * 65 + "]" * 65, "65 levels, at most 64"),
        ("[" * 100_000, "levels, at most 64"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("a: [", "cannot be read as YAML"),
        ("a: \x01", "cannot be read as YAML"),
    ):
        path.write_text(text)
        with pytest.raises(_Refused, match=told):
            read_yaml(path, _Refused)


def test_a_budget_is_raised_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    most = budgets.BUDGETS["picture_bytes"].most
    budgets.within("picture_bytes", most, "picture")
    with pytest.raises(BudgetError, match=rf"set {budgets.VARIABLE}=picture_bytes={most + 1}"):
        budgets.within("picture_bytes", most + 1, "picture")
    monkeypatch.setenv(budgets.VARIABLE, f"bag_chunk_bytes=1e12, picture_bytes={most + 1}")
    budgets.within("picture_bytes", most + 1, "picture")
    assert budgets.limit("bag_chunk_bytes") == 10**12


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("picture_byte=1e9", "'picture_byte' is not among .*picture_bytes"),
        ("nesting=1000", "'nesting' is not among"),
        ("picture_bytes=1", "must be a number of at least 100000000"),
        ("picture_bytes=nan", "must be a number"),
        ("picture_bytes=inf", "must be a number"),
        ("picture_bytes", "must be a number"),
    ],
)
def test_a_wrong_raise_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv(budgets.VARIABLE, text)
    with pytest.raises(BudgetError, match=told):
        budgets.within("picture_bytes", 1, "picture")


def test_the_table_in_the_docs_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    wanted = [
        f"| `{name}` | {budget.most:,} {budget.unit} | {budget.of} | "
        f"{'yes' if budget.raisable else 'no'} |"
        for name, budget in budgets.BUDGETS.items()
    ]
    assert rows == wanted, "\n".join(wanted)
    assert json.dumps(budgets.VARIABLE).strip('"') in page


def test_weights_with_a_table_too_large_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(_Refused, match=r"1,099,511,627,776 bytes, at most 33,554,432 are taken"):
        check_weights(path, _Refused)
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    check_weights(path, _Refused)
