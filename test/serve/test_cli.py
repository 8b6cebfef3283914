# SPDX-License-Identifier: Apache-2.0
"""The command: what it refuses before it loads a policy."""

from __future__ import annotations

import re
import shlex
import socket
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from test.docs import shell
from test.serve.conftest import Make
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.serve import cli
from vla_infoentropy_ros.serve.actions import ActionForm


@pytest.mark.parametrize("protocol", list(cli.PROTOCOLS))
def test_a_port_that_is_taken_is_named_with_its_remedy_before_anything_is_loaded(
    protocol: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "load_asked", lambda options: pytest.fail("loaded a policy"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["--protocol", protocol, "--port", str(port)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: cannot listen on 127.0.0.1, port {port}: Address already")
    assert "give another --port" in told and "Errno" not in told and len(told.splitlines()) == 1


def test_a_policy_that_fails_its_self_test_is_not_served_and_the_command_that_shows_why_is_told(
    policy: TinyPolicy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "load_asked", lambda options: policy)
    monkeypatch.setattr(cli, "run_selftest", lambda policy: SimpleNamespace(passed=False))
    assert cli.main(["--model", "my robot", "--actions", "policy", "--port", "0"]) == 1
    told = re.search(r"the self-test of my robot failed; see where: (.*), with the same flags",
                     capsys.readouterr().err)
    assert told
    shell.judge(shlex.split(told[1]))


@pytest.mark.parametrize("protocol", list(cli.PROTOCOLS))
def test_an_address_may_be_of_version_6(make: Make, protocol: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = make(protocol, host="::1").port
    with urllib.request.urlopen(f"http://[::1]:{port}/health", timeout=20) as reply:
        assert reply.status == 200


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_what_the_pages_serve_can_be_answered_as_they_say(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    commands = re.findall(r"python -m vla_infoentropy_ros serve\b([^`\n]*)", text)
    assert commands
    for words in (each.split() for each in commands):
        options = cli._parser().parse_args(words)
        if options.model != "FOLDER":
            policy = load_policy(options.model, LoadOptions())
            ActionForm(options.actions or cli.PROTOCOLS[options.protocol], policy.convention)
