# SPDX-License-Identifier: Apache-2.0
"""Servers of the tiny policy, on a free port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.serve.access import Access
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.serve.cli import Server, server_of
from vla_infoentropy_ros.variants import Variant

Make = Callable[..., Server]


@pytest.fixture
def policy() -> TinyPolicy:
    return TinyPolicy()


@pytest.fixture
def service(policy: TinyPolicy) -> Any:
    for package in ("msgpack", "prometheus_client"):
        pytest.importorskip(package, reason="the extra 'serve' is not installed")
    from vla_infoentropy_ros.serve.metrics import Metrics
    from vla_infoentropy_ros.serve.service import Service

    variant = Variant.parse("attention_drift")
    return Service(policy, lambda: variant.session(policy), ActionForm("policy", policy.convention),
                   Metrics(), most_clients=3)


@pytest.fixture
def make(service: Any) -> Iterator[Make]:
    """``make("openvla", token="...")``: a server that listens; closed at the end."""
    running: list[tuple[Server, threading.Thread]] = []

    def made(kind: str, token: str = "", host: str = "127.0.0.1") -> Server:
        server = server_of(kind)(service, Access(host, token), 0)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield made
    for server, thread in running:
        server.close()
        thread.join(5.0)
        assert not thread.is_alive()
