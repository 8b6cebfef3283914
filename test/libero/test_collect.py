# SPDX-License-Identifier: Apache-2.0
"""Which shards a process collects, without the simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_infoentropy_ros.libero import collect


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that collection would make."""
    names: list[str] = []
    monkeypatch.setattr(collect, "collect_shard", lambda path, *_: names.append(path.name))
    return names


def test_processes_share_the_shards_and_each_has_both_suites(tmp_path: Path,
                                                             asked: list[str]) -> None:
    each = []
    for part in range(3):
        collect.main([str(tmp_path), "--rounds", "3", "--part", str(part), "3"])
        each.append(set(asked))
        asked.clear()
    assert sum(map(len, each)) == len(set.union(*each)) == 60
    assert all(len({name.split("-")[0] for name in names}) == 2 for names in each)


def test_what_is_there_is_not_made_again_and_time_ends_it(tmp_path: Path,
                                                          asked: list[str]) -> None:
    (tmp_path / "libero_object-0-000.npz").touch()
    collect.main([str(tmp_path), "--rounds", "1"])
    assert len(asked) == 19 and "libero_object-0-000.npz" not in asked
    asked.clear()
    collect.main([str(tmp_path), "--rounds", "1", "--seconds", "0"])
    assert asked == []
