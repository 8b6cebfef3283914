# SPDX-License-Identifier: Apache-2.0
"""Two demos must never share a domain."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vla_infoentropy_ros.demo import domain
from vla_infoentropy_ros.demo.domain import DomainClaim, DomainError


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.tempfile, "gettempdir", lambda: str(tmp_path))


def test_claims_differ_and_are_given_back() -> None:
    with DomainClaim() as first, DomainClaim() as second:
        assert first.domain != second.domain
        with pytest.raises(DomainError, match=f"domain {first.domain} is taken"):
            DomainClaim(first.domain)
    with DomainClaim(first.domain) as again:
        assert again.domain == first.domain


def test_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "_DOMAINS", range(50, 52))
    with DomainClaim(50), DomainClaim(51), pytest.raises(DomainError, match="every DDS domain"):
        DomainClaim()


def test_a_domain_with_a_foreign_participant_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(domain, "_DOMAINS", range(97, 99))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind(("127.0.0.1", 0))
        monkeypatch.setattr(domain, "_PORT_BASE", foreign.getsockname()[1] - 250 * 97 - 10)
        for _ in range(4):
            with DomainClaim() as claim:
                assert claim.domain == 98


def test_out_of_range() -> None:
    with pytest.raises(DomainError, match=r"domain 300 is outside 0 \.\. 232"):
        DomainClaim(300)


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, tempfile; tempfile.gettempdir = lambda: " + repr(str(tmp_path)) + "\n"
        "from vla_infoentropy_ros.demo.domain import DomainClaim\n"
        "DomainClaim(60); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with DomainClaim(60):
        pass
