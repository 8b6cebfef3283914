# SPDX-License-Identifier: Apache-2.0
"""One loader for every policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.embedded.weights_file import SHIPPED
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy


def test_checkpoint_folder(checkpoint: Path) -> None:
    policy = load_policy(str(checkpoint), LoadOptions(unnorm_key="bridge_orig"), progress=False)
    assert policy.name == "openvla" and policy.norm_key == "bridge_orig"


def test_embedded() -> None:
    policy = load_policy()
    assert policy.name == "embedded"
    assert load_policy("embedded", LoadOptions(
        unnorm_key=policy.norm_key, control_period_s=policy.convention.control_period_s, crop="none"
    )).revision == policy.revision


@pytest.mark.parametrize(("name", "value"), [
    ("unnorm_key", "bridge_orig"), ("gripper", "minus_one_is_open"),
    ("device", "tpu"), ("action_units", "osc_pose"), ("control_period_s", 9.0),
    ("rotation", "axis_angle"), ("trained_rotation", "axis_angle"), ("crop", "centre_0.9_area"),
    ("image_rotation", "half_turn"),
])
def test_embedded_refuses_what_it_is_not(name: str, value: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy("embedded", LoadOptions(**{name: value}))
    message = str(caught.value)
    assert f"{name}={value!r}: " in message and ("leave it at" in message or "cpu" in message)


def test_the_embedded_policy_is_pinned_by_its_bytes(tmp_path: Path) -> None:
    """Its files say which training run they come from; that is a name, not what they hold."""
    shipped = load_policy().revision
    assert load_policy("embedded", LoadOptions(revision=shipped)).revision == shipped
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    assert load_policy(str(folder), LoadOptions(revision=shipped)).revision == shipped
    config = json.loads((folder / "policy.json").read_text())
    config["norm_stats"]["tabletop"]["action"]["q99"][0] *= 2
    (folder / "policy.json").write_text(json.dumps(config))
    assert load_policy(str(folder)).revision != shipped
    for pin, told in ((shipped, "other files than those"), ("tabletop-1", "is no pin of a folder")):
        with pytest.raises(PolicyError, match=told):
            load_policy(str(folder), LoadOptions(revision=pin))


def test_names() -> None:
    with pytest.raises(PolicyError, match="model is empty"):
        load_policy("")
    with pytest.raises(PolicyError, match="no such folder"):
        load_policy("embeded")
    # No file's name, however long the text behind a function's.
    assert load_policy(f"test.nodes.policies:load:{'x' * 5000}").name
