# SPDX-License-Identifier: Apache-2.0
"""Nodes are found on this host alone, where nothing else is asked for."""

import os

import pytest
import rclpy

from vla_infoentropy_ros.nodes.discovery import RANGE, stay_local
from vla_infoentropy_ros.nodes.runtime import StartupError, run


@pytest.fixture
def unasked(monkeypatch):
    for name in (RANGE, "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("unasked")
def test_a_node_stays_on_its_host(monkeypatch):
    seen = []
    monkeypatch.setattr(rclpy, "init", lambda **_: seen.append(os.environ.get(RANGE)))

    def make():
        raise StartupError("enough")

    assert run("policy_node", make) == 1
    assert seen == ["LOCALHOST"]


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(
    ("name", "value"),
    [(RANGE, "SUBNET"), ("ROS_STATIC_PEERS", "10.0.0.2"), ("ROS_LOCALHOST_ONLY", "0")],
)
def test_whoever_asks_for_more_gets_it(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not stay_local()
    assert os.environ.get(RANGE, "") == (value if name == RANGE else "")
