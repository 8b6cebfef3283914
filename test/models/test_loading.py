# SPDX-License-Identifier: Apache-2.0
"""One loader for every policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.loading import load_policy


def test_checkpoint_folder(checkpoint: Path) -> None:
    policy = load_policy(str(checkpoint), unnorm_key="bridge_orig", progress=False)
    assert policy.name == "openvla" and policy.norm_key == "bridge_orig"


def test_embedded() -> None:
    policy = load_policy()
    assert policy.name == "embedded"
    assert load_policy("embedded", unnorm_key=policy.norm_key).revision == policy.revision


@pytest.mark.parametrize("option", [
    {"unnorm_key": "bridge_orig"}, {"gripper": "minus_one_is_open"}, {"revision": "other"},
    {"dtype": "int8"}, {"device": "tpu"}, {"action_units": "osc_pose"}, {"control_period_s": 9.0},
])
def test_embedded_refuses_what_it_is_not(option: dict) -> None:
    with pytest.raises(PolicyError):
        load_policy("embedded", **option)


def test_names() -> None:
    with pytest.raises(PolicyError, match="model is empty"):
        load_policy("")
    with pytest.raises(PolicyError, match="no such folder"):
        load_policy("embeded")
